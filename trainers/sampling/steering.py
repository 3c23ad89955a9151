"""Who is in command of a robot, step by step: its own high level, or a person for a while.

    AUTO     the policy's own choice, asked for anew every `every` steps
    TOLD     what a person said: from the step after it was said, until `hold` steps after that moment; for one at least
    HELD     as TOLD, but until the person lets go

A correction counts at the very next step, never only at the policy's next decision. A second one while the first is
in force ends the first, and loses nothing of it (YAY Robot, arXiv 2403.12910, and RT-H, arXiv 2403.01823, with the
reaction time of one step instead of a chunk).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainers.nn.pilot import Choice


@dataclass(frozen=True)
class Override:
    """What a person said, and at which steps it was obeyed."""

    command: str
    said: int
    """The step that was under way when it was said."""
    start: int
    """The first step that obeyed it."""
    stop: int | None = None
    """The step after the last one that did; None while it is in force."""
    predicted: tuple[Choice, ...] = ()
    """What the policy wanted itself at that moment, most likely first."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Whatever belongs to it: raw text, who, when."""


@dataclass
class Steering:
    """The state machine; ask `command(step, choose)` once a step, in order."""

    every: int
    """Steps from one decision of the policy to the next."""
    hold: int
    """Steps after which what was said is gone."""
    own: tuple[Choice, ...] = ()
    """The policy's own choices, as of its last decision."""
    finished: list[Override] = field(default_factory=list)
    """Overrides that are over, oldest first; whoever keeps them takes them out."""
    _decided: int = -1
    _now: Override | None = None
    _next: Override | None = None
    _until: int | None = None
    _next_until: int | None = None

    @property
    def told(self) -> Override | None:
        """What a person said and is in force; None while the policy decides."""
        return self._now

    def say(
        self, step: int, command: str, held: bool = False, source: Mapping[str, Any] | None = None
    ) -> Override:
        """A person's command, said while `step` is under way: in force from the step after it.

        It is gone at `step + hold`, obeyed at one step at least; or, `held`, when `let_go` is called.
        """
        self._next = Override(command, step, step + 1, None, self.own, dict(source or {}))
        self._next_until = None if held else step + max(self.hold, 2)
        return self._next

    def let_go(self, step: int) -> None:
        """Hands back: from the step after this one the policy decides again."""
        if self._next is not None and self._next.start > step:
            self._next = None
        if self._now is not None:
            self._until = step + 1

    def command(self, step: int, choose: Callable[[], list[Choice]]) -> str:
        """The command for this step. `choose` asks the policy; it is called only when it is to decide."""
        if self._next is not None and step >= self._next.start:
            self._finish(step)
            self._now, self._until = replace(self._next, start=step), self._next_until
            self._next = None
        if self._now is not None and self._until is not None and step >= self._until:
            self._finish(step)
            self._decided = -1  # whatever it wanted before is stale
        if self._now is not None:
            return self._now.command
        if self._decided < 0 or step - self._decided >= self.every:
            self.own, self._decided = tuple(choose()), step
        return self.own[0].command if self.own else ""

    def decides(self, step: int) -> bool:
        """Whether at `step`, the next one to come, the policy is to decide, unless somebody speaks before."""
        if self._next is not None and step >= self._next.start:
            return False
        if self._now is not None:
            return self._until is not None and step >= self._until
        return self._decided < 0 or step - self._decided >= self.every

    def end(self, step: int) -> None:
        """The episode is over: what is in force ends here."""
        self._next = None
        self._finish(step)

    def _finish(self, step: int) -> None:
        if self._now is not None:
            self.finished.append(replace(self._now, stop=step))
            self._now = None
