"""What every policy of a robot can do, so that whoever runs one need not know which it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Choice:
    """A command that the policy thinks of, and how likely it is."""

    command: str
    probability: float


class Pilot(Protocol):
    """A policy that acts in a world, one episode at a time. What a person says replaces its own command."""

    layer: Literal["", "command", "motion"]
    """What its commands are about: what to do, or how to move; empty where it takes none."""
    every: int
    """Steps from one of its own decisions to the next."""
    motions: Mapping[str, str]
    """The key for a motion (left, right, up, down, open, close, stay) -> the command that it stands for."""

    @property
    def bank(self) -> Sequence[str]:
        """The commands that it chooses among."""
        ...

    def begin(self, scene: Mapping[str, Any], seed: int = 0) -> None:
        """A new episode: forgets the last one. `scene` is the world's."""
        ...

    def see(self, observation: NDArray[Any]) -> None:
        """[D] what there is to see before this step; once a step, in order."""
        ...

    def choices(self, most: int = 5) -> list[Choice]:
        """What it would do now, most likely first; empty where it takes no commands."""
        ...

    def act(self, command: str) -> NDArray[np.float32]:
        """[A] what it does at what it saw last, by a command: one of its bank, or any other words."""
        ...


class Crew(Protocol):
    """Several episodes of one policy, step by step: the lists are as long as there are episodes."""

    def see(self, observations: Sequence[NDArray[Any]]) -> None: ...
    def choices(self, most: int = 5) -> list[list[Choice]]: ...
    def act(self, commands: Sequence[str]) -> NDArray[np.float32]: ...


@runtime_checkable
class Many(Protocol):
    """A policy that can live several episodes at once, which is faster."""

    def together(self, scenes: Sequence[Mapping[str, Any]]) -> Crew: ...


class OneOfMany(ABC):
    """For a policy that lives several episodes at once: one of them alone, as the protocol `Pilot` has it."""

    _alone: Crew | None = None

    @abstractmethod
    def together(self, scenes: Sequence[Mapping[str, Any]]) -> Crew: ...

    def begin(self, scene: Mapping[str, Any], seed: int = 0) -> None:
        self._alone = self.together([scene])

    def see(self, observation: NDArray[Any]) -> None:
        self._begun.see([observation])

    def choices(self, most: int = 5) -> list[Choice]:
        return self._begun.choices(most)[0]

    def act(self, command: str) -> NDArray[np.float32]:
        action: NDArray[np.float32] = self._begun.act([command])[0]
        return action

    @property
    def _begun(self) -> Crew:
        if self._alone is None:
            raise RuntimeError("No episode has begun: call begin(scene) before the robot sees or acts.")
        return self._alone
