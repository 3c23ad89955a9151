"""A win rate that length cannot buy."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-3
"""Weight of theta^2 / 2 and phi^2 / 2 beside the mean loss: keeps both finite where length explains every win."""


class Controlled(NamedTuple):
    """A win rate at equal length."""

    value: float
    low: float
    """The 95 % interval."""
    high: float
    phi: float
    """How much a longer answer helped: the log-odds of a win grow by so much for a far longer one."""


def length_controlled(wins: Tensor, longer: Tensor, groups: Tensor) -> Controlled:
    """sigmoid(theta) of the fit P(win) = sigmoid(theta + phi tanh(longer / s)), s the deviation of `longer`.

    The win rate there would be if both answers were equally long (Dubois et al. 2024, arXiv:2404.04475, with one pair
    of models and without its term for how hard a prompt is). wins [N] from 0 to 1, one half for a tie; longer [N], by
    how much longer the answer is than the other; groups [N] int64 from 0 to G - 1: rows of one group (a prompt) are not
    independent.
    The interval is from the sandwich estimate over groups.
    """
    wins, longer = wins.double(), longer.double()
    s = longer.square().mean().sqrt()
    z = torch.stack(
        [torch.ones_like(wins), torch.tanh(longer / s) if s > 0 else torch.zeros_like(wins)], dim=1
    )
    fitted = torch.zeros(2, dtype=torch.float64)
    ridge = RIDGE * torch.eye(2, dtype=torch.float64)
    for _ in range(50):
        p = torch.sigmoid(z @ fitted)
        hessian = (z * (p * (1 - p))[:, None]).T @ z / len(z) + ridge
        step = torch.linalg.solve(hessian, z.T @ (wins - p) / len(z) - ridge @ fitted)
        fitted = fitted + step
        if step.abs().max() < 1e-12:
            break
    pulls = z * (wins - torch.sigmoid(z @ fitted))[:, None]
    count = int(groups.max()) + 1
    together = torch.zeros(count, 2, dtype=torch.float64).index_add(0, groups, pulls)
    # As if there were one group more than can vary, which few groups need.
    spread = together.T @ together * (count / max(count - 1, 1)) / len(z) ** 2
    inverse = torch.linalg.inv(hessian)
    error = math.sqrt((inverse @ spread @ inverse)[0, 0].item())
    theta, phi = fitted.tolist()
    low, value, high = (
        torch.sigmoid(torch.tensor(theta + away * 1.96 * error)).item() for away in (-1, 0, 1)
    )
    return Controlled(value, low, high, phi)
