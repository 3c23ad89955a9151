"""The gain and bias at the end of every reward model, and what its scores state once they are undone.

The Bradley-Terry loss fixes rewards only up to a constant, and their scale only loosely, but a KL coefficient has
a meaning only against rewards of a known scale. So rewards are normalised after training ("The N implementation
details of RLHF with PPO", Huang et al. 2023; Ziegler et al. 2019): mean 0, variance 1 on the reference policy's
samples.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Scale(nn.Module):
    """gain * raw + bias; fixed numbers, saved with the weights and never trained."""

    gain: Tensor
    bias: Tensor
    eta: Tensor
    """The difference of raw scores within which a pair passes for a tie (`maths/ties.py: rao_kupper`); often 0."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones((), dtype=dtype))
        self.register_buffer("bias", torch.zeros((), dtype=dtype))
        self.register_buffer("eta", torch.zeros((), dtype=dtype))

    def forward(self, raw: Tensor) -> Tensor:
        return self.gain * raw + self.bias

    def log_odds(self, scores: Tensor) -> Tensor:
        """[B] of the first answer being better, where it is no tie, from scaled scores [2 B]: all first ones, then
        all others. In double precision."""
        first, other = scores.double().chunk(2)
        h, eta = (first - other) / self.gain.item(), self.eta.item()
        return F.logsigmoid(h - eta) - F.logsigmoid(-h - eta)

    def normalise(self, mean: float, std: float) -> None:
        if not std > 0:
            raise ValueError(
                f"Scores with standard deviation {std} cannot be scaled to 1: they are all the same."
            )
        self.gain /= std
        self.bias.copy_((self.bias - mean) / std)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Models that were saved before a threshold was kept with them had none, or lost it.
        state_dict.setdefault(f"{prefix}eta", torch.zeros_like(self.eta))
        super()._load_from_state_dict(state_dict, prefix, *rest)
