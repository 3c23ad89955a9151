"""RT-H's two queries as two small networks, and the pilot that they make (Belkhale et al. 2024, arXiv:2403.01823).

    pi(a, m | o, g) = pi_h(m | o, g) pi_l(a | o, g, m)        both asked anew at every step

pi_h chooses a phrase of the embodiment's grammar, pi_l acts by it. A phrase goes into pi_l as its words (a sign for
each axis), not as a number of its own: the paper found numbers much worse, since they share nothing. What a person
says takes the phrase's place and nothing else. Left out: a picture, tokens for actions, the one model for both
queries, and asking for the next step's phrase ahead of time: here both networks take a tenth of a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.envs.motions import Embodiment, as_mapping, described
from trainers.nn.hand import TASK, FromTheHand, Several
from trainers.nn.pilot import Choice
from trainers.nn.storage import read_weights, write_weights


@dataclass(frozen=True)
class MotionConfig:
    observation: int
    """Numbers in an observation (D)."""
    action: int
    """Numbers in an action (A)."""
    embodiment: Mapping[str, Any]
    """The whole YAML file, as `trainers.envs.motions.described` reads it."""
    digest: str = ""
    """Of the grammar that it was trained on; checked when it is opened."""
    hidden: int = 192
    """Width of both layers of both networks."""
    base: Mapping[str, Any] = field(default_factory=dict)
    """What it was first trained on, so that the same can be made again and mixed in later."""


class MotionPolicy(FromTheHand):
    """Both queries, and a Pilot: `begin`, `see`, then `choices` and `act`; `together` for several episodes at once."""

    kind: ClassVar[str] = "motion_policy"
    layer: Literal["", "command", "motion"] = "motion"
    every = 1

    def __init__(self, config: MotionConfig, seed: int = 0) -> None:
        arm = described(config.embodiment, "the policy's embodiment")
        if config.digest not in ("", arm.digest):
            raise ValueError(
                f"This policy speaks the motions {config.digest[:12]}, and its embodiment {arm.name} version "
                f"{arm.version} comes to {arm.digest[:12]}. Train it anew."
            )
        super().__init__(config.observation, arm.hand, arm.things, ", ".join(arm.worlds))
        self.config, self.arm = config, arm
        self.motions: Mapping[str, str] = dict(arm.keys)
        seen = self.seen_size + TASK
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.motion = _network(seen, config.hidden, len(arm.phrases))
            self.action = _network(seen + arm.width, config.hidden, config.action)
        vectors = np.stack([arm.vector(one) for one in arm.phrases])
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        self.vectors: Tensor

    # --- the two queries

    def logits(self, observation: Tensor, task: Tensor) -> Tensor:
        """[B, V] of pi_h, one for each phrase."""
        found: Tensor = self.motion(self.seen(observation, task))
        return found

    def acted(self, observation: Tensor, task: Tensor, phrase: Tensor) -> Tensor:
        """[B, A] of pi_l, for phrases [B] by their numbers."""
        found: Tensor = self.action(torch.cat([self.seen(observation, task), self.vectors[phrase]], dim=1))
        return found

    # --- as a pilot

    @property
    def bank(self) -> Sequence[str]:
        return self.arm.phrases

    def together(self, scenes: Sequence[Mapping[str, Any]]) -> Together:
        """Several episodes at once, which is faster."""
        return Together(self, scenes)

    # --- on disk

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: dict[str, Any]) -> Self:
        policy = cls(MotionConfig(**config))
        read_weights(policy, directory)
        return policy.eval()


class Together(Several):
    """Episodes that one policy lives at the same time, step by step."""

    def __init__(self, policy: MotionPolicy, scenes: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(policy, scenes)
        self.policy = policy

    @torch.no_grad()
    def choices(self, most: int = 5) -> list[list[Choice]]:
        phrases = self.policy.arm.phrases
        probabilities = self.policy.logits(self._seen, self._tasks).softmax(dim=1)
        best = probabilities.topk(min(most, len(phrases)), dim=1)
        return [
            [Choice(phrases[n], share) for share, n in zip(shares, numbers, strict=True)]
            for shares, numbers in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    @torch.no_grad()
    def act(self, commands: Sequence[str]) -> NDArray[np.float32]:
        """[B, A] by phrases, or by words that come to one; by words that do not, it does nothing."""
        arm = self.policy.arm
        said = [arm.understand(command) for command in commands]
        numbers = torch.tensor([arm.number(one or arm.stay) for one in said], device=self._seen.device)
        actions = self.policy.acted(self._seen, self._tasks, numbers).clamp(-1, 1).cpu().numpy()
        actions[[one is None for one in said]] = 0.0
        return actions


def policy_for(
    arm: Embodiment,
    observation: int,
    action: int,
    hidden: int,
    seed: int,
    base: Mapping[str, Any] | None = None,
) -> MotionPolicy:
    """A new one for an embodiment, untrained."""
    config = MotionConfig(observation, action, as_mapping(arm), arm.digest, hidden, dict(base or {}))
    return MotionPolicy(config, seed)


def _network(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
