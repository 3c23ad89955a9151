"""A robot that acts by what it sees and by its task, and takes no commands: pi(a | o, g) as one small network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.nn.hand import TASK, FromTheHand, Several
from trainers.nn.pilot import Choice
from trainers.nn.storage import read_weights, write_weights


@dataclass(frozen=True)
class DirectConfig:
    observation: int
    """Numbers in an observation (D)."""
    action: int
    """Numbers in an action (A)."""
    hand: tuple[int, ...] = ()
    """Where an observation has the hand's place."""
    things: int = -1
    """Where the things' places begin in an observation; -1 where there are none."""
    hidden: int = 192
    """Width of both hidden layers."""
    world: str = ""


class DirectPolicy(FromTheHand):
    """Keeps the protocol `Pilot`, with no bank and no choices; `together` is the same for several episodes."""

    kind: ClassVar[str] = "direct_policy"
    layer: Literal["", "command", "motion"] = ""
    every = 1
    bank: Sequence[str] = ()

    def __init__(self, config: DirectConfig, seed: int = 0) -> None:
        super().__init__(config.observation, config.hand, config.things, config.world)
        self.config = config
        self.motions: Mapping[str, str] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Linear(self.seen_size + TASK, config.hidden), nn.ReLU(),
                nn.Linear(config.hidden, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.action),
            )  # fmt: skip

    def forward(self, observation: Tensor, task: Tensor) -> Tensor:
        """[B, A] for observations [B, D] and tasks [B, G]."""
        found: Tensor = self.net(self.seen(observation, task))
        return found

    def together(self, scenes: Sequence[Mapping[str, Any]]) -> Together:
        return Together(self, scenes)

    # --- on disk

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: dict[str, Any]) -> Self:
        policy = cls(DirectConfig(**{**config, "hand": tuple(config["hand"])}))
        read_weights(policy, directory)
        return policy.eval()


class Together(Several):
    """Episodes that one policy lives at the same time, step by step; whatever is said, it does what it does."""

    def __init__(self, policy: DirectPolicy, scenes: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(policy, scenes)
        self.policy = policy

    def choices(self, most: int = 5) -> list[list[Choice]]:
        return [[] for _ in self._tasks]

    @torch.no_grad()
    def act(self, commands: Sequence[str]) -> NDArray[np.float32]:
        """[B, A]"""
        found: NDArray[np.float32] = self.policy(self._seen, self._tasks).clamp(-1, 1).cpu().numpy()
        return found
