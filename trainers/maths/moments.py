"""Means and variances: of what a mask leaves, and of a stream that comes in chunks."""

from typing import NamedTuple

import torch
from torch import Tensor


def whiten(values: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """(values - mean) / sqrt(variance + eps) over what mask (bool) is true on; 0 elsewhere.

    Biased variance, in two passes ("The N implementation details of RLHF with PPO", Huang et al. 2023): torch's
    own is unbiased, and E[x^2] - E[x]^2 has no digits left where values are alike.
    """
    real = mask.to(values.dtype)
    count = real.sum().clamp(min=1)
    centred = (values - (values * real).sum() / count) * real
    return centred * ((centred**2).sum() / count + eps).rsqrt()


def centred(values: Tensor) -> Tensor:
    """[B, k] -> [B, k]: each value less its row's mean; exactly 0 in a row of equal values.

    The mean of equal values is not always theirs: of fourteen times 0.1 in single precision it is off in the last
    digit, and what divides the difference may be as small.
    """
    apart = values.amax(dim=1, keepdim=True) > values.amin(dim=1, keepdim=True)
    return torch.where(apart, values - values.mean(dim=1, keepdim=True), 0.0)


class Moments(NamedTuple):
    """What is known of a stream of numbers so far."""

    n: float = 0.0
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared distances from the mean."""

    @property
    def std(self) -> float:
        """Biased; 0 before there is anything."""
        return (self.m2 / self.n) ** 0.5 if self.n else 0.0


def merge(moments: Moments, values: Tensor) -> Moments:
    """The moments of the stream with one chunk more (Chan, Golub and LeVeque 1979), whatever the chunks are.

    d = mean_b - mean;  M2 += M2_b + d^2 n n_b / (n + n_b);  mean += d n_b / (n + n_b)
    """
    if not values.numel():
        return moments
    chunk = values.detach().double()
    more, mean = float(chunk.numel()), chunk.mean().item()
    m2 = ((chunk - mean) ** 2).sum().item()
    total, d = moments.n + more, mean - moments.mean
    return Moments(
        total,
        moments.mean + d * more / total,
        moments.m2 + m2 + d * d * moments.n * more / total,
    )
