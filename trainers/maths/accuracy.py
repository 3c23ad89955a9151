"""How sure one may be of a share, and how honest stated probabilities are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BINS = 10
"""Equal parts of the range from one half to 1 in which statements are set against what came true."""
SHARPEST, FLATTEST = 1e-3, 1e3
"""The temperatures among which the best is looked for."""


def wilson(successes: float, n: float, z: float = 1.96) -> tuple[float, float]:
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


def effective(rights: Tensor, groups: Sequence[Hashable]) -> float:
    """How many independent ones the [N] values are worth, of which those of one group resemble each other.

    N over the design effect (Kish 1965): the variance of the mean, taken between groups, over what it
    would be were all independent; never below 1. Six pairs of one question are not six questions. Where all values
    are the same nothing can be estimated, and each group counts once.
    """
    numbers = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    away = rights.double() - rights.double().mean()
    apart = away.square().sum().item()
    if apart == 0:
        return float(len(numbers))
    places = torch.tensor([numbers[group] for group in groups], device=rights.device)
    sums = torch.zeros(len(numbers), dtype=torch.double, device=rights.device).index_add(0, places, away)
    return len(rights) / max(sums.square().sum().item() / apart, 1.0)


class Bin(NamedTuple):
    """Statements of about the same probability."""

    stated: float
    """Their mean."""
    right: float
    """The share of them that came true."""
    n: int


def reliability(margins: Tensor, bins: int = BINS) -> list[Bin]:
    """A pairwise model's statements against what came true, from the margins [N] of the better answers.

    The model states that the answer it scores higher is the better one with probability sigmoid(|margin|), between
    one half and 1. Empty parts of that range are left out; a tied score is half right.
    """
    stated = torch.sigmoid(margins.abs())
    right = (torch.sign(margins) + 1) / 2
    part = ((stated - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    found = []
    for number in range(bins):
        inside = part == number
        if inside.any():
            found.append(
                Bin(stated[inside].mean().item(), right[inside].mean().item(), int(inside.sum().item()))
            )
    return found


def calibration_error(margins: Tensor, bins: int = BINS) -> Tensor:
    """Expected calibration error of a pairwise model (Guo et al. 2017, arXiv:1706.04599, equation 3): over the parts
    of `reliability`, the mean statement less the share that was right, weighted by the part's size."""
    parts = reliability(margins, bins)
    error = sum(abs(part.stated - part.right) * part.n for part in parts) / max(len(margins), 1)
    return torch.tensor(error, dtype=margins.dtype, device=margins.device)


def honest_error(margins: Tensor, generator: torch.Generator, draws: int = 200) -> float:
    """The mean calibration error of a model whose every statement is true, on as many and as sure ones as these [N].

    Chance alone is seen as an error: about 0.05 for 300 pairs. What is found is to be held against this.
    """
    stated = torch.sigmoid(margins.abs()).cpu()
    part = ((stated - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    came = torch.rand(draws, len(stated), generator=generator) < stated
    gaps = torch.zeros(draws, BINS, dtype=stated.dtype).index_add(1, part, stated - came.to(stated.dtype))
    return gaps.abs().sum(dim=1).mean().item() / max(len(stated), 1)


def temperature(margins: Tensor) -> float:
    """The T > 0 for which sigmoid(margins / T), [N], is likeliest (Guo et al. 2017, section 4.2): order, and with it
    accuracy, stays.

    -log-likelihood is convex in 1 / T, so its slope is halved in on. Margins that are all above 0 would have T = 0,
    and those of a model worse than chance T = infinity: both end at a bound.
    """
    z = margins.double()

    def slope(sharpness: float) -> float:
        return -(z * torch.sigmoid(-sharpness * z)).sum().item()

    low, high = math.log(1 / FLATTEST), math.log(1 / SHARPEST)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-low)


def tempered(margins: Tensor, folds: Sequence[int]) -> Tensor:
    """[N] margins over a temperature that was fitted without them: on the margins of all other folds.

    A temperature fitted on the very margins it is judged on looks better than it is. A single fold has no others
    to be fitted on, and keeps its margins.
    """
    given = torch.tensor(list(folds), device=margins.device)
    found = margins.clone()
    for fold in sorted(set(folds)):
        others = margins[given != fold]
        if len(others):
            found[given == fold] = margins[given == fold] / temperature(others)
    return found
