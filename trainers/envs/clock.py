"""A clock that ticks at a fixed rate, can be paused and woken, and says how late it was.

Deadlines lie on a grid of monotonic time, so that small delays do not add up: a tick that came late by part of a
period is followed by one that comes as much sooner. No tick comes sooner than half a period after the one before it,
and whole periods that were missed are dropped and counted, never made up for: a robot that stood still for a second
does not jump.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

SHORTEST = 0.5
"""The share of a period that always lies between one tick and the next."""


class Clock:
    """Ticks every `seconds / speed` seconds. Made running, with the first tick due one period later.

    Either `wait()` in a loop of its own; or, in a loop that listens to something else too, `select` with `remaining()`
    and ask `tick()` whenever it comes back. Another thread may only `wake()` it.
    """

    def __init__(
        self,
        seconds: float,
        speed: float = 1.0,
        now: Callable[[], float] = time.monotonic,
        select: Callable[..., tuple[Sequence[Any], Any, Any]] = select.select,
    ) -> None:
        """`speed` may be infinite: then every tick is due at once. `now` and `select` are for tests.

        Raises ValueError for a period or a speed that is not above zero.
        """
        if not 0 < seconds < math.inf:
            raise ValueError(f"Found a period of {seconds} seconds. Expected a number above zero.")
        self.seconds = seconds
        self._now, self._select = now, select
        self.ticks = 0
        """Ticks so far."""
        self.missed = 0
        """Periods that passed without a tick because whoever steps was busy; a pause is none."""
        self.late = 0.0
        """By how many seconds the last tick was late."""
        self.latest = 0.0
        """By how many seconds the worst of them was."""
        self._speed = _above_zero(speed)
        self._due = now() + self.period
        self._left: float | None = None  # while paused: seconds that were left until the next tick
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)

    @property
    def period(self) -> float:
        """Seconds from tick to tick, in the time of whoever watches."""
        return self.seconds / self._speed

    @property
    def speed(self) -> float:
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        """How much faster than the world's own time; counts at once, also in the middle of a period."""
        share = min(1.0, self._until() / self.period) if self.period else 0.0
        self._speed = _above_zero(speed)
        if self._left is None:
            self._due = self._now() + share * self.period
        else:
            self._left = share * self.period

    @property
    def paused(self) -> bool:
        return self._left is not None

    def pause(self) -> None:
        """Stops ticking. What was left of the period is left after it."""
        if self._left is None:
            self._left = self._until()

    def resume(self) -> None:
        """Goes on where it was paused; the time between does not count as late."""
        if self._left is not None:
            self._due = self._now() + self._left
            self._left = None

    def remaining(self) -> float | None:
        """Seconds until the next tick, 0 where it is due; None while paused: what `select` takes as its timeout."""
        return None if self.paused else self._until()

    def tick(self) -> bool:
        """Whether a step is due now. If so it is taken: the next one is due a period later."""
        now = self._now()
        if self.paused or (late := now - self._due) < 0:
            return False
        self.ticks += 1
        self.late, self.latest = late, max(self.latest, late)
        if self.period:
            dropped = int(late // self.period)
            self.missed += dropped
            late -= dropped * self.period
        # On the grid, but not right after this one.
        self._due = now + max(self.period - late, SHORTEST * self.period)
        return True

    def wait(self, *others: Any) -> bool:
        """Until the next tick, which is taken: True. Or until woken, or one of `others` (files) can be read: False.

        While paused it waits for these alone.
        """
        while not self.tick():
            ready = self._select([self._ear, *others], [], [], self.remaining())[0]
            if self._ear in ready:
                self._hear()
            if ready:
                return False
        return True

    def wake(self) -> None:
        """Ends a `wait` that is under way, or else the next one. Any thread, or a signal's handler, may call it."""
        with suppress(BlockingIOError):  # woken so often that the pipe is full: it will hear
            os.write(self._mouth, b"!")

    def fileno(self) -> int:
        """Readable once woken: for a loop that has a `select` of its own. `heard()` makes it quiet again."""
        return self._ear

    def heard(self) -> None:
        """What woke it was seen to."""
        self._hear()

    def close(self) -> None:
        """Gives back the two file descriptors it is woken through."""
        if self._ear >= 0:
            os.close(self._ear)
            os.close(self._mouth)
            self._ear = self._mouth = -1

    def _until(self) -> float:
        return self._left if self._left is not None else max(0.0, self._due - self._now())

    def _hear(self) -> None:
        with suppress(BlockingIOError):  # all of it was read
            while os.read(self._ear, 4096):
                pass


def _above_zero(speed: float) -> float:
    if not speed > 0:
        raise ValueError(
            f"Found a speed of {speed}. Expected a number above zero: 1 is the world's own time."
        )
    return float(speed)
