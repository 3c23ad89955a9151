"""How far several models differ about which of two answers is better, and whether a number tells errors apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def conflict(margins: Tensor) -> Tensor:
    """[B] in [0, 1/2]: the probability that two models order two answers differently, from margins [N, B] of N models.

    2 q (1 - q), with q = Phi(mean / std) the share of models with a margin above 0 among as many as one likes that are
    spread like these N. Counting the votes of these N alone would give few values: 0, 2/5, 3/5 for five.
    """
    mean = margins.double().mean(dim=0)
    std = margins.double().std(dim=0, correction=0)
    # Members that agree to the last bit have no spread: certain, unless they all say 0.
    q: Tensor = torch.special.ndtr(mean / std.clamp_min(torch.finfo(torch.double).tiny))
    return 2 * q * (1 - q)


def auroc(values: Tensor, positive: Tensor, z: float = 1.96) -> tuple[float, float, float]:
    """(area, low, high) under the ROC curve: how often a positive has the larger value; a tie counts a half.

    values [N], positive [N] bool. The 95 % interval is that of DeLong, DeLong and Clarke-Pearson 1988, for one
    curve. Chance is one half. Without a positive, or without a negative, there is no area: nan, 0, 1.
    """
    first, second = values[positive].double(), values[~positive].double()
    if not len(first) or not len(second):
        return math.nan, 0.0, 1.0
    wins = ((first[:, None] > second).double() + (first[:, None] == second).double() / 2).cpu()
    area = wins.mean().item()
    if min(wins.shape) < 2:
        return area, 0.0, 1.0
    variance = wins.mean(dim=1).var() / len(first) + wins.mean(dim=0).var() / len(second)
    spread = z * math.sqrt(variance.item())
    return area, max(area - spread, 0.0), min(area + spread, 1.0)
