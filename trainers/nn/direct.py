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

from trainers.maths.words import heard
from trainers.nn.pilot import Choice
from trainers.nn.storage import read_weights, write_weights

TASK = 16
"""Numbers in a task's vector (G)."""


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


class DirectPolicy(nn.Module):
    """Keeps the protocol `Pilot`, with no bank and no choices; `together` is the same for several episodes."""

    kind: ClassVar[str] = "direct_policy"
    layer: Literal["", "command", "motion"] = ""
    every = 1
    bank: Sequence[str] = ()

    def __init__(self, config: DirectConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.motions: Mapping[str, str] = {}
        size = len(config.hand)
        self._things = (config.observation - config.things) // size if size and config.things >= 0 else 0
        self._plain = config.things if self._things else config.observation
        seen = self._plain + self._things * size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Linear(seen + TASK, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.hidden), nn.ReLU(),
                nn.Linear(config.hidden, config.action),
            )  # fmt: skip
        self.register_buffer("middle", torch.zeros(seen))
        self.register_buffer("spread", torch.ones(seen))
        self.middle: Tensor
        self.spread: Tensor
        self._alone: Together | None = None

    def look(self, observation: Tensor) -> Tensor:
        """[B, …] what there is to see in observations [B, D]: of the things only where they lie from the hand."""
        plain = observation[:, : self._plain]
        if not self._things:
            return plain
        hand = observation[:, list(self.config.hand)]
        places = observation[:, self._plain : self._plain + self._things * hand.shape[1]]
        return torch.cat([plain, places - hand.repeat(1, self._things)], dim=1)

    def forward(self, observation: Tensor, task: Tensor) -> Tensor:
        """[B, A] for observations [B, D] and tasks [B, G]."""
        found: Tensor = self.net(
            torch.cat([(self.look(observation) - self.middle) / self.spread, task], dim=1)
        )
        return found

    def scale(self, observations: Tensor) -> None:
        """Takes middle and spread of what is seen from observations [N, D]."""
        found = self.look(observations)
        self.middle.copy_(found.mean(dim=0))
        self.spread.copy_(found.std(dim=0).clamp_min(1e-2))

    # --- as a pilot

    def together(self, scenes: Sequence[Mapping[str, Any]]) -> Together:
        return Together(self, scenes)

    def begin(self, scene: Mapping[str, Any], seed: int = 0) -> None:
        self._alone = self.together([scene])

    def see(self, observation: NDArray[Any]) -> None:
        self._begun.see([observation])

    def choices(self, most: int = 5) -> list[Choice]:
        return []

    def act(self, command: str) -> NDArray[np.float32]:
        """[A]; whatever is said, it does what it does."""
        found: NDArray[np.float32] = self._begun.act([command])[0]
        return found

    @property
    def _begun(self) -> Together:
        if self._alone is None:
            raise RuntimeError("No episode has begun: call begin(scene) before the robot sees or acts.")
        return self._alone

    # --- on disk

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: dict[str, Any]) -> Self:
        policy = cls(DirectConfig(**{**config, "hand": tuple(config["hand"])}))
        read_weights(policy, directory)
        return policy.eval()


class Together:
    """Episodes that one policy lives at the same time, step by step."""

    def __init__(self, policy: DirectPolicy, scenes: Sequence[Mapping[str, Any]]) -> None:
        self.policy = policy
        tasks = np.stack([heard(str(scene.get("words", "")), TASK) for scene in scenes])
        self._tasks = torch.from_numpy(tasks).to(policy.middle.device)
        self._seen = torch.zeros(len(scenes), policy.config.observation, device=policy.middle.device)

    def see(self, observations: Sequence[NDArray[Any]]) -> None:
        """[B] of [D]"""
        seen = torch.from_numpy(np.stack(observations).astype(np.float32))
        if seen.shape[1] != self.policy.config.observation:
            raise ValueError(
                f"Found {seen.shape[1]} numbers to see; this policy was trained on {self.policy.config.observation}, "
                f"in {self.policy.config.world}, with as many things as it was shown."
            )
        self._seen = seen.to(self._tasks.device)

    def choices(self, most: int = 5) -> list[list[Choice]]:
        return [[] for _ in self._tasks]

    @torch.no_grad()
    def act(self, commands: Sequence[str]) -> NDArray[np.float32]:
        """[B, A]"""
        found: NDArray[np.float32] = self.policy(self._seen, self._tasks).clamp(-1, 1).cpu().numpy()
        return found
