"""A policy of continuous actions for learning by trial: a Gaussian whose mean is a perceptron, with its critic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.nn.pilot import Choice
from trainers.nn.storage import read_weights, write_weights

FURTHEST = 10.0
"""Normalised observations are cut to +-10."""
LOG_ROOT = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class GaussianConfig:
    observation: int
    action: int
    width: int = 64
    """Units in each of two hidden layers, of the policy and of the critic."""
    log_std: float = 0.0
    """Logarithm of the deviation of actions before training."""
    world: str = ""
    """Where it has learned to act."""
    task: str = ""


class Gaussian(nn.Module):
    """pi(a | o) = N(mean(o), diag(std)^2), with std free of o; and V(o). Keeps `nn/pilot.py: Pilot`.

    Log-probabilities are of actions as they were drawn; the world cuts them to [-1, 1]. What is seen is normalised by
    the mean and deviation of all that was seen in training so far.
    """

    kind: ClassVar[str] = "gaussian"
    layer: ClassVar[Literal["", "command", "motion"]] = ""
    every: ClassVar[int] = 1
    motions: ClassVar[Mapping[str, str]] = {}
    seen_count: Tensor
    seen_mean: Tensor
    seen_m2: Tensor

    def __init__(self, config: GaussianConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.mean = perceptron(config.observation, config.width, config.action, 0.01, generator)
        self.critic = perceptron(config.observation, config.width, 1, 1.0, generator)
        self.log_std = nn.Parameter(torch.full((config.action,), config.log_std))
        self.register_buffer("seen_count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen_mean", torch.zeros(config.observation, dtype=torch.float64))
        self.register_buffer("seen_m2", torch.zeros(config.observation, dtype=torch.float64))
        self._now = np.zeros(config.observation, dtype=np.float32)
        self._settle()

    def saw(self, observations: Tensor) -> None:
        """Counts observations [B, D] in: from now on all are normalised with them (Chan, Golub and LeVeque 1979)."""
        new = observations.double()
        count, mean = float(len(new)), new.mean(dim=0)
        total, d = self.seen_count + count, mean - self.seen_mean
        self.seen_m2 += ((new - mean) ** 2).sum(dim=0) + d**2 * self.seen_count * count / total
        self.seen_mean += d * count / total
        self.seen_count.copy_(total)
        self._settle()

    def normalised(self, observations: Tensor) -> Tensor:
        """[..., D]"""
        return ((observations - self._shift) * self._scale).clamp(-FURTHEST, FURTHEST)

    def logp(self, seen: Tensor, actions: Tensor) -> Tensor:
        """[B] log pi(a | o) of actions [B, A] at normalised observations [B, D]."""
        z = (actions - self.mean(seen)) * (-self.log_std).exp()
        found: Tensor = (-0.5 * z**2 - self.log_std - LOG_ROOT).sum(dim=-1)
        return found

    def value(self, seen: Tensor) -> Tensor:
        """[B] at normalised observations [B, D]."""
        found: Tensor = self.critic(seen)[..., 0]
        return found

    def draw(self, observations: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(actions [B, A], log-probabilities [B]) at observations [B, D]; no gradients."""
        with torch.no_grad():
            seen = self.normalised(observations)
            mean = self.mean(seen)
            actions = mean + self.log_std.exp() * torch.randn(mean.shape, generator=generator)
            return actions, self.logp(seen, actions)

    def best(self, observations: Tensor) -> Tensor:
        """[B, A] the mean action, cut to [-1, 1]; no gradients."""
        with torch.no_grad():
            found: Tensor = self.mean(self.normalised(observations)).clamp(-1, 1)
            return found

    @property
    def entropy(self) -> Tensor:
        """Of an action, in nat: the same at every observation."""
        return (self.log_std + LOG_ROOT + 0.5).sum()

    # --- as a pilot

    @property
    def bank(self) -> Sequence[str]:
        return ()

    def begin(self, scene: Mapping[str, Any], seed: int = 0) -> None:
        self._now = np.zeros(self.config.observation, dtype=np.float32)

    def see(self, observation: NDArray[Any]) -> None:
        self._now = np.asarray(observation, dtype=np.float32)

    def choices(self, most: int = 5) -> list[Choice]:
        return []

    def act(self, command: str) -> NDArray[np.float32]:
        """It takes no commands, so a command changes nothing."""
        found: NDArray[np.float32] = self.best(torch.from_numpy(self._now)).numpy()
        return found

    # --- on disk

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(GaussianConfig(**config))
        read_weights(model, directory)
        return model

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().load_state_dict(*args, **kwargs)
        self._settle()
        return found

    def _settle(self) -> None:
        """What observations are shifted and scaled by, from what was counted: nothing before anything was."""
        known = self.seen_count > 0
        variance = self.seen_m2 / self.seen_count.clamp(min=1)
        self._shift = self.seen_mean.float()
        self._scale = (variance + 1e-4).rsqrt().float() if known else torch.ones_like(self._shift)


def perceptron(
    into: int, width: int, out: int, last: float, generator: torch.Generator | None
) -> nn.Sequential:
    """Two hidden layers of tanh with orthogonal weights of gain sqrt 2, and a last layer of gain `last`
    ("The 37 implementation details of PPO", Huang et al. 2022, detail 2)."""
    layers = [nn.Linear(into, width), nn.Linear(width, width), nn.Linear(width, out)]
    for layer, gain in zip(layers, (2**0.5, 2**0.5, last), strict=True):
        nn.init.orthogonal_(layer.weight, gain, generator)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
