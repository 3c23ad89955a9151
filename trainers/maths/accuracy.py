"""How sure one may be of a share, and how honest stated probabilities are."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def wilson(successes: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The interval that holds a share with 95 % confidence, seen `successes` times in `n` (Wilson 1927).

    Unlike p ± z sqrt(p (1 - p) / n) it stays within [0, 1] and is right for few and for extreme counts.
    """
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z**2 / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n)
    return min(max(low, 0.0), p), max(min(high, 1.0), p)  # rounding may step over the ends


def calibration_error(margins: Tensor, bins: int = 10) -> Tensor:
    """Expected calibration error of a pairwise model (Guo et al. 2017, arXiv:1706.04599), from the margins [N] of
    the better answers over the others.

    The model states that the answer it scores higher is the better one with probability sigmoid(|margin|), between
    one half and 1. In each of `bins` equal parts of that range: the mean statement less the share that was right,
    weighted by the part's size.
    """
    stated = torch.sigmoid(margins.abs())
    right = (torch.sign(margins) + 1) / 2
    part = ((stated - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    error = torch.zeros((), dtype=margins.dtype, device=margins.device)
    for number in range(bins):
        inside = part == number
        if not inside.any():
            continue
        error += (stated[inside].mean() - right[inside].mean()).abs() * inside.float().mean()
    return error
