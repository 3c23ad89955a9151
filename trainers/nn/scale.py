"""The gain and bias at the end of every reward model.

The Bradley-Terry loss fixes rewards only up to a constant, and their scale only loosely, but a KL coefficient has
a meaning only against rewards of a known scale. So rewards are normalised after training ("The N implementation
details of RLHF with PPO", Huang et al. 2023; Ziegler et al. 2019): mean 0, variance 1 on the reference policy's
samples.
"""

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """gain * raw + bias; fixed numbers, saved with the weights and never trained."""

    gain: Tensor
    bias: Tensor

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones((), dtype=dtype))
        self.register_buffer("bias", torch.zeros((), dtype=dtype))

    def forward(self, raw: Tensor) -> Tensor:
        return self.gain * raw + self.bias

    def normalise(self, mean: float, std: float) -> None:
        if not std > 0:
            raise ValueError(
                f"Scores with standard deviation {std} cannot be scaled to 1: they are all the same."
            )
        self.gain /= std
        self.bias.copy_((self.bias - mean) / std)
