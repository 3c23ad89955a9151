"""What all worlds that robots act in can do, whoever made them. numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]


class WorldError(RuntimeError):
    """A world broke down: which, where in the episode, and what it said. The episode cannot go on."""


@dataclass(frozen=True)
class Step:
    """What came of an action."""

    observation: Floats
    """[D]"""
    reward: float
    """The world's own; 0 where it has none."""
    done: bool
    """Whether there is nothing more to do: it succeeded, or fell."""


class World(Protocol):
    """One episode at a time. All that is random comes from the seed of `reset`."""

    name: str
    seconds: float
    """How long a step takes, in the world's own time."""
    actions: tuple[str, ...]
    """[A] what each number of an action does; all are from -1 to 1."""
    most_steps: int
    """After so many an episode ends."""

    def reset(self, seed: int, task: str = "", dials: Mapping[str, Any] | None = None) -> Floats:
        """[D] what is seen first. ValueError for an unknown task or dial, or a value that it cannot have."""
        ...

    def step(self, action: NDArray[Any]) -> Step:
        """One step by an action [A] in [-1, 1].

        ValueError where it is not that many finite numbers; WorldError where the world broke down by it.
        """
        ...

    def snapshot(self) -> bytes:
        """This moment, to come back to with `restore`: the same actions then lead to the same steps."""
        ...

    def restore(self, moment: bytes) -> Floats:
        """[D] what is seen in the moment that was come back to."""
        ...

    def observe(self) -> Floats:
        """[D] what is seen now."""
        ...

    def scene(self) -> dict[str, Any]:
        """What stays as it is through an episode, as JSON: the task, in words too ("task", "words"), names, sizes."""
        ...

    def state(self) -> Floats:
        """[S] what is drawn of this moment; S = 0 where there are pictures only."""
        ...

    def picture(self, size: int = 256) -> Picture:
        """[size, size, 3] this moment as an image. ValueError for a size under 16, or too large to draw."""
        ...

    @property
    def score(self) -> float:
        """How much of the task is done, from 0 to 1; NaN where nobody can say."""
        ...

    @property
    def stages(self) -> dict[str, bool]:
        """The stages of the task, and whether each is done."""
        ...


class Talking(World, Protocol):
    """A world that knows what somebody who sees everything would say and do: for scripted annotators."""

    def advice(self) -> str:
        """The command that helps most now."""
        ...

    def demonstrate(self, command: str = "") -> NDArray[Any]:
        """[A] the action that carries a command out; without one, the one that goes on with the task."""
        ...
