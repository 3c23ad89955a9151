"""What a step of a robot's work is worth, as several models together: rewards that are learned from clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from trainers.maths.segments import summed
from trainers.nn.storage import read_weights, write_weights

QUIET = 0.05
"""What the last layer begins with: summed over a clip, a reward that was not learned is to say little."""
SMALLEST = 1e-2
"""No number that is seen is divided by less than this, however little it varied."""


@dataclass(frozen=True)
class ClipRewardConfig:
    observation: int
    """How many numbers are seen in a step."""
    action: int
    """How many numbers an action has."""
    members: int = 3
    """How many models there are."""
    width: int = 64
    """Units in each of two hidden layers."""
    world: str = ""
    """Where the clips come from."""
    task: str = ""


class ClipReward(nn.Module):
    """r(o, a) = mean_i (r_i(o, a) - mean_i) / std_i: members that are each normalised, then averaged (section 2.2.3).

    Each r_i is a perceptron of its own; all are computed at once. Raw member rewards are in log-odds a step: summed
    over two clips, their difference is the log-odds that one is preferred. What is seen is normalised by numbers that
    `see` fixes, and the reward by numbers that `normalise` does.
    """

    kind: ClassVar[str] = "clip_reward"
    seen_mean: Tensor
    seen_std: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: ClipRewardConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        n, wide, width = config.members, config.observation + config.action, config.width
        sizes = [(wide, width, 1.0), (width, width, 1.0), (width, 1, QUIET)]
        self.weights = nn.ParameterList(
            torch.randn(n, into, out, generator=generator) * gain * into**-0.5 for into, out, gain in sizes
        )
        self.biases = nn.ParameterList(torch.zeros(n, 1, out) for _, out, _ in sizes)
        self.register_buffer("seen_mean", torch.zeros(config.observation))
        self.register_buffer("seen_std", torch.ones(config.observation))
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))

    def see(self, steps: Tensor) -> None:
        """Sets how observations are normalised, from steps [B, D + A]."""
        seen = steps[:, : self.config.observation]
        self.seen_mean.copy_(seen.mean(dim=0))
        self.seen_std.copy_(seen.std(dim=0, correction=0).clamp_min(SMALLEST))

    def opinions(self, steps: Tensor) -> Tensor:
        """[N, ...] each member's reward of steps [..., D + A], in log-odds, with gradients."""
        d = self.config.observation
        seen = (steps[..., :d] - self.seen_mean) / self.seen_std
        x = torch.cat([seen, steps[..., d:].clamp(-1, 1)], dim=-1)
        h = x.reshape(1, -1, x.shape[-1]).expand(self.config.members, -1, -1)
        *hidden, last = zip(self.biases, self.weights, strict=True)
        for bias, weight in hidden:
            h = torch.tanh(torch.baddbmm(bias, h, weight))
        found = torch.baddbmm(last[0], h, last[1])
        return found.view(self.config.members, *steps.shape[:-1])

    def sums(self, clips: Tensor, mask: Tensor) -> Tensor:
        """[N, ...] each member's sum over the steps of clips [..., L, D + A], mask [..., L]."""
        return summed(self.opinions(clips), mask)

    def forward(self, steps: Tensor) -> Tensor:
        """[...] the reward of steps [..., D + A]: of mean 0 and deviation 1 on what `normalise` was given."""
        found = self.opinions(steps)
        shape = (-1,) + (1,) * (found.dim() - 1)
        together: Tensor = ((found - self.mean.view(shape)) / self.std.view(shape)).mean(dim=0)
        return together

    @torch.no_grad()
    def normalise(self, steps: Tensor) -> None:
        """Each member has mean 0 and deviation 1 on these steps [B, D + A] from now on. A member that finds them all
        alike is only shifted: it has no say."""
        found = self.opinions(steps)
        std = found.std(dim=1, correction=0)
        self.mean.copy_(found.mean(dim=1))
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def write(self, directory: Path) -> None:
        write_weights(self, directory)

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> Self:
        model = cls(ClipRewardConfig(**config))
        read_weights(model, directory)
        return model
