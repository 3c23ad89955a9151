"""How accuracy grows with labels: a - b n^-c, the law that error rates of learned models keep to over wide ranges
(Hestness et al. 2017, arXiv:1712.00409)."""

from __future__ import annotations

import torch
from torch import Tensor

EXPONENTS = tuple(step / 20 for step in range(1, 21))
"""The c among which the best is looked for: nearly a logarithm to 1 / n. Five points tell no finer."""


def fit(n: Tensor, accuracy: Tensor) -> Tensor:
    """[S, 3]: a, b, c with the least squared error for each of S curves, accuracy [S, K] at sizes n [K]."""
    curves = accuracy.double()
    best = torch.full((len(curves),), torch.inf, dtype=torch.double)
    found = torch.zeros(len(curves), 3, dtype=torch.double)
    for exponent in EXPONENTS:
        bases = torch.stack([torch.ones(len(n), dtype=torch.double), -(n.double() ** -exponent)], dim=1)
        solved = (torch.linalg.pinv(bases) @ curves.T).T  # [S, 2]
        error = (curves - solved @ bases.T).square().sum(dim=1)
        better = error < best - 1e-15
        best = torch.where(better, error, best)
        law = torch.cat([solved, torch.full((len(curves), 1), exponent, dtype=torch.double)], dim=1)
        found = torch.where(better[:, None], law, found)
    return found


def at(law: Tensor, n: Tensor) -> Tensor:
    """[S, K] what laws [S, 3] say at sizes n [K]."""
    a, b, c = law.double().unbind(dim=1)
    return a[:, None] - b[:, None] * n.double()[None] ** -c[:, None]
