"""RT-H's two queries as two small networks, and the pilot that they make (Belkhale et al. 2024, arXiv:2403.01823).

    pi(a, m | o, g) = pi_h(m | o, g) pi_l(a | o, g, m)        both asked anew at every step

pi_h chooses a phrase of the embodiment's grammar, pi_l acts by it. A phrase goes into pi_l as its words (a sign for
each axis), not as a number of its own: the paper found numbers much worse, since they share nothing. What a person
says takes the phrase's place and nothing else. Left out: a picture, tokens for actions, the one model for both
queries, and asking for the next step's phrase ahead of time: here both networks take a tenth of a millisecond.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.envs.motions import Embodiment, as_mapping, described
from trainers.maths.words import heard
from trainers.nn.pilot import Choice
from trainers.nn.storage import read_weights, write_weights

TASK = 16
"""Numbers in a task's vector (G)."""


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


class MotionPolicy(nn.Module):
    """Both queries, and a Pilot: `begin`, `see`, then `choices` and `act`; `together` for several episodes at once."""

    kind: ClassVar[str] = "motion_policy"
    layer: Literal["", "command", "motion"] = "motion"
    every = 1

    def __init__(self, config: MotionConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.arm = described(config.embodiment, "the policy's embodiment")
        if config.digest not in ("", self.arm.digest):
            raise ValueError(
                f"This policy speaks the motions {config.digest[:12]}, and its embodiment {self.arm.name} version "
                f"{self.arm.version} comes to {self.arm.digest[:12]}. Train it anew."
            )
        self.motions: Mapping[str, str] = dict(self.arm.keys)
        hand, start = len(self.arm.hand), self.arm.things
        self._things = (config.observation - start) // hand if hand and start >= 0 else 0
        self._plain = start if self._things else config.observation
        """Numbers of an observation before the things' places."""
        seen = self._plain + self._things * hand + TASK
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.motion = _network(seen, config.hidden, len(self.arm.phrases))
            self.action = _network(seen + self.arm.width, config.hidden, config.action)
        self.register_buffer("middle", torch.zeros(seen - TASK))
        self.register_buffer("spread", torch.ones(seen - TASK))
        vectors = np.stack([self.arm.vector(one) for one in self.arm.phrases])
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        self.middle: Tensor
        self.spread: Tensor
        self.vectors: Tensor
        self._alone: Together | None = None

    # --- the two queries

    def look(self, observation: Tensor) -> Tensor:
        """[B, …] what there is to see in observations [B, D]: of the things only where they lie from the hand, so that
        what is learned of one place holds for the others.
        """
        plain = observation[:, : self._plain]
        if not self._things:
            return plain
        hand = observation[:, list(self.arm.hand)]
        places = observation[:, self._plain : self._plain + self._things * hand.shape[1]]
        return torch.cat([plain, places - hand.repeat(1, self._things)], dim=1)

    def seen(self, observation: Tensor, task: Tensor) -> Tensor:
        """[B, …] the same to scale, and the task [B, G]: what both networks are given."""
        return torch.cat([(self.look(observation) - self.middle) / self.spread, task], dim=1)

    def logits(self, observation: Tensor, task: Tensor) -> Tensor:
        """[B, V] of pi_h, one for each phrase."""
        found: Tensor = self.motion(self.seen(observation, task))
        return found

    def acted(self, observation: Tensor, task: Tensor, phrase: Tensor) -> Tensor:
        """[B, A] of pi_l, for phrases [B] by their numbers."""
        found: Tensor = self.action(torch.cat([self.seen(observation, task), self.vectors[phrase]], dim=1))
        return found

    def scale(self, observations: Tensor) -> None:
        """Takes middle and spread of what is seen from observations [N, D]."""
        found = self.look(observations)
        self.middle.copy_(found.mean(dim=0))
        self.spread.copy_(found.std(dim=0).clamp_min(1e-2))

    # --- as a pilot

    @property
    def bank(self) -> Sequence[str]:
        return self.arm.phrases

    def together(self, scenes: Sequence[Mapping[str, Any]]) -> Together:
        """Several episodes at once, which is faster."""
        return Together(self, scenes)

    def begin(self, scene: Mapping[str, Any], seed: int = 0) -> None:
        self._alone = self.together([scene])

    def see(self, observation: NDArray[Any]) -> None:
        self._begun.see([observation])

    def choices(self, most: int = 5) -> list[Choice]:
        return self._begun.choices(most)[0]

    def act(self, command: str) -> NDArray[np.float32]:
        """[A] by a phrase, or by words that come to one; by words that do not, it does nothing."""
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
        policy = cls(MotionConfig(**config))
        read_weights(policy, directory)
        return policy.eval()


class Together:
    """Episodes that one policy lives at the same time, step by step."""

    def __init__(self, policy: MotionPolicy, scenes: Sequence[Mapping[str, Any]]) -> None:
        self.policy = policy
        device = policy.middle.device
        self._tasks = torch.from_numpy(
            np.stack([heard(str(scene.get("words", "")), TASK) for scene in scenes])
        ).to(device)
        self._seen = torch.zeros(len(scenes), policy.config.observation, device=device)

    def see(self, observations: Sequence[NDArray[Any]]) -> None:
        """[B] of [D]"""
        seen = torch.from_numpy(np.stack(observations).astype(np.float32))
        if seen.shape[1] != self._seen.shape[1]:
            raise ValueError(
                f"Found {seen.shape[1]} numbers to see; this policy was trained on {self._seen.shape[1]}. It acts in "
                f"{', '.join(self.policy.arm.worlds)} with as many things as it was shown."
            )
        self._seen = seen.to(self._tasks.device)

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
        """[B, A]"""
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


def weights_digest(module: nn.Module) -> str:
    """sha256 over a module's weights, by their names: whether they are the very same."""
    whole = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        whole.update(name.encode() + b"\0" + value.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _network(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
