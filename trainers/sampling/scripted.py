"""A pilot that is a rule: it reads the world itself, as no camera and no policy does, and is named for what it is.

For tests, for driving with nobody else at the controls, and to show what steering does where nothing was learned yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainers.envs.worlds import Talking, World
from trainers.nn.commands import MOTIONS
from trainers.nn.pilot import Choice


class Scripted:
    """Says what the world's `advice()` says, and does what its `demonstrate()` does: by a person's command too."""

    layer: Literal["", "command", "motion"] = "command"
    every = 10

    def __init__(self, world: Talking) -> None:
        self.world = world
        self.motions: Mapping[str, str] = MOTIONS
        self._bank: list[str] = list(MOTIONS.values())

    @property
    def bank(self) -> Sequence[str]:
        return self._bank

    def begin(self, scene: Mapping[str, Any], seed: int = 0) -> None:
        things = [f"pick up the {one['name']}" for one in scene.get("things", [])]
        self._bank = [*MOTIONS.values(), *dict.fromkeys(things)]

    def see(self, observation: NDArray[Any]) -> None:
        """It looks at the world itself."""

    def choices(self, most: int = 5) -> list[Choice]:
        """What helps most, with certainty: a rule has no second thoughts."""
        return [Choice(self.world.advice(), 1.0)]

    def act(self, command: str) -> NDArray[np.float32]:
        return np.asarray(self.world.demonstrate(command), dtype=np.float32)


class Still:
    """Nobody at the controls: it stands still until somebody drives. It takes no commands."""

    layer: Literal["", "command", "motion"] = ""
    every = 1

    def __init__(self, world: World) -> None:
        self.motions: Mapping[str, str] = {}
        self._still = np.zeros(len(world.actions), dtype=np.float32)

    @property
    def bank(self) -> Sequence[str]:
        return ()

    def begin(self, scene: Mapping[str, Any], seed: int = 0) -> None:
        """There is nothing to forget."""

    def see(self, observation: NDArray[Any]) -> None:
        """Nobody looks."""

    def choices(self, most: int = 5) -> list[Choice]:
        return []

    def act(self, command: str) -> NDArray[np.float32]:
        return self._still.copy()
