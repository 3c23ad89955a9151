"""Many copies of a world stepped together, as arrays: what learning by trial needs.

Each copy has a seed of its own. Its first episode is the one of that seed, the next ones are of seeds drawn from it by
number, so that a copy's episodes depend neither on how many copies there are nor on how long the others' episodes last.
A copy whose episode is over begins its next one within the same step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainers.envs.moments import packed, unpacked
from trainers.envs.registry import WORLDS, world
from trainers.envs.worlds import Floats, World


@dataclass(frozen=True)
class Steps:
    """What came of the actions of N copies."""

    observations: Floats
    """[N, D] what is seen now: of the next episode where one is over."""
    rewards: Floats
    """[N]"""
    done: NDArray[np.bool_]
    """[N] whether the episode came to its own end: there is nothing after it to value."""
    over: NDArray[np.bool_]
    """[N] whether it is over: done, or out of steps."""
    last: Floats
    """[N, D] what the actions led to: differs from `observations` where the episode is over."""


class Engine(Protocol):
    """What steps N copies at once. Arrays where somebody wrote them (`copies` in a world's module), else a loop."""

    observation: int
    action: int
    most_steps: int

    def begin(self, which: NDArray[np.intp], seeds: Sequence[int]) -> None:
        """New episodes for these copies."""
        ...

    def advance(self, actions: Floats) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """([N] rewards, [N] done) of a step by actions [N, A] in [-1, 1]."""
        ...

    def look(self) -> Floats:
        """[N, D]"""
        ...

    def kept(self) -> dict[str, Any]:
        """Everything there is to this moment."""
        ...

    def come_back(self, kept: dict[str, Any]) -> None: ...


class OneByOne:
    """N worlds, one after the other."""

    def __init__(self, worlds: Sequence[World], task: str, dials: Mapping[str, Any]) -> None:
        self.worlds, self.task, self.dials = worlds, task, dials
        self.seen = np.stack([one.reset(0, task, dials) for one in worlds])
        self.observation = self.seen.shape[1]
        self.action, self.most_steps = len(worlds[0].actions), worlds[0].most_steps

    def begin(self, which: NDArray[np.intp], seeds: Sequence[int]) -> None:
        for number, seed in zip(which, seeds, strict=True):
            self.seen[number] = self.worlds[number].reset(seed, self.task, self.dials)

    def advance(self, actions: Floats) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        steps = [one.step(action) for one, action in zip(self.worlds, actions, strict=True)]
        for number, step in enumerate(steps):
            self.seen[number] = step.observation
        return np.array([step.reward for step in steps]), np.array([step.done for step in steps])

    def look(self) -> Floats:
        return self.seen.copy()

    def kept(self) -> dict[str, Any]:
        return {"worlds": [np.frombuffer(one.snapshot(), dtype=np.uint8) for one in self.worlds]}

    def come_back(self, kept: dict[str, Any]) -> None:
        for number, (one, moment) in enumerate(zip(self.worlds, kept["worlds"], strict=True)):
            self.seen[number] = one.restore(moment.tobytes())


class Copies:
    """N copies of the world `name`, all at one task with the same dials.

    Raises ValueError as the world does, and where N is below one.
    """

    def __init__(
        self,
        name: str,
        count: int,
        task: str = "",
        dials: Mapping[str, Any] | None = None,
        most_steps: int | None = None,
    ) -> None:
        """`most_steps` ends episodes sooner or later than the world would."""
        if count < 1:
            raise ValueError(f"Found {count} copies of {name}. Expected at least one.")
        self.name, self.count = name, count
        self._engine = _engine(name, count, task, dials or {})
        self.observation, self.action = self._engine.observation, self._engine.action
        self.most_steps = most_steps or self._engine.most_steps
        self.seeds: list[int] = list(range(count))
        self.episodes = np.zeros(count, dtype=np.int64)
        """[N] how many each copy has finished."""
        self.steps = np.zeros(count, dtype=np.int64)
        """[N] how many were taken in its episode."""

    def reset(self, seeds: int | Sequence[int]) -> Floats:
        """[N, D] each copy at the first episode of its seed. One number stands for itself and those after it."""
        given = range(seeds, seeds + self.count) if isinstance(seeds, int) else seeds
        self.seeds = [int(seed) for seed in given]
        if len(self.seeds) != self.count:
            raise ValueError(f"Found {len(self.seeds)} seeds for {self.count} copies. Expected one each.")
        self.episodes[:] = 0
        self.steps[:] = 0
        self._engine.begin(np.arange(self.count), self.seeds)
        return self._engine.look()

    def step(self, actions: NDArray[Any]) -> Steps:
        """All of them by actions [N, A]. ValueError where they are not that many finite numbers."""
        wanted = np.asarray(actions, dtype=np.float32)
        if wanted.shape != (self.count, self.action) or not np.isfinite(wanted).all():
            raise ValueError(
                f"Found actions of shape {wanted.shape}{'' if np.isfinite(wanted).all() else ', not all finite'}. "
                f"Expected finite numbers of shape ({self.count}, {self.action}), from -1 to 1."
            )
        rewards, done = self._engine.advance(wanted.clip(-1.0, 1.0))
        self.steps += 1
        over = done | (self.steps >= self.most_steps)
        last = seen = self._engine.look()
        if over.any():
            which = np.flatnonzero(over)
            self.episodes[which] += 1
            self.steps[which] = 0
            self._engine.begin(
                which, [episode_seed(self.seeds[one], int(self.episodes[one])) for one in which]
            )
            seen = self._engine.look()
        return Steps(seen, rewards.astype(np.float32), done, over, last)

    def observe(self) -> Floats:
        """[N, D] what is seen now."""
        return self._engine.look()

    def snapshot(self) -> bytes:
        """This moment of all copies, and where each is in its row of episodes."""
        return packed(
            {
                "world": self._whose,
                "seeds": self.seeds,
                "episodes": self.episodes,
                "steps": self.steps,
                "engine": self._engine.kept(),
            }
        )

    def restore(self, moment: bytes) -> Floats:
        """[N, D] back in that moment. ValueError for one of another world, or of another number of copies."""
        kept = unpacked(moment, self._whose)
        self.seeds, self.episodes, self.steps = kept["seeds"], kept["episodes"], kept["steps"]
        self._engine.come_back(kept["engine"])
        return self._engine.look()

    @property
    def _whose(self) -> str:
        return f"{self.count} copies of {self.name}"


def episode_seed(seed: int, episode: int) -> int:
    """The seed of a copy's episode by number; its first one, number 0, is the copy's own."""
    if episode == 0:
        return seed
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def _engine(name: str, count: int, task: str, dials: Mapping[str, Any]) -> Engine:
    first = world(name)
    first.reset(0, task, dials)  # says what is wrong with the task or the dials
    quick = getattr(import_module(WORLDS[name].module), "copies", None)
    made: Engine | None = quick(name, count) if quick else None
    return made or OneByOne([first, *(world(name) for _ in range(count - 1))], task, dials)
