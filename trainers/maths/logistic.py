"""Penalised logistic regression on differences, solved to its one minimum.

    minimise over w:  sum_i weight_i log(1 + exp(-w . d_i)) + penalty / 2 |w|^2

It only needs the products of the differences, K = d d^T: with a prior N(0, 1 / penalty) on w it is the mode of a
Gaussian process with kernel K / penalty, found by Newton's method as in Rasmussen and Williams (2006), algorithm
3.1. So many fits to parts of the same labels cost one K.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS, TOLERANCE = 50, 1e-9


def fit(products: Tensor, weights: Tensor, penalty: float) -> tuple[Tensor, float]:
    """(a, log evidence): w = sum_i a_i d_i / penalty from products [N, N] and weights [N], in float64.

    The evidence is Laplace's approximation (equation 3.32): how likely the labels are before w is known. The
    penalty with the most evidence can be chosen without holding any label back.
    """
    kernel = products.double() / penalty
    weight = weights.double()
    f = torch.zeros_like(weight)
    a = torch.zeros_like(weight)
    root = lower = torch.zeros(0)
    for _ in range(STEPS):
        says = torch.sigmoid(-f)
        root = (weight * says * (1 - says)).sqrt()
        lower = torch.linalg.cholesky(torch.eye(len(f), dtype=f.dtype) + root[:, None] * kernel * root)
        b = root.square() * f + weight * says
        a = b - root * torch.cholesky_solve((root * (kernel @ b))[:, None], lower)[:, 0]
        previous, f = f, kernel @ a
        if (f - previous).abs().max() < TOLERANCE * (1 + f.abs().max()):
            break
    likelihood = (weight * F.logsigmoid(f)).sum()
    evidence = likelihood - a @ f / 2 - lower.diagonal().log().sum()
    return a, evidence.item()


def most_evident(products: Tensor, weights: Tensor, penalties: tuple[float, ...]) -> float:
    """The penalty of those given under which the labels are likeliest."""
    return max(penalties, key=lambda penalty: fit(products, weights, penalty)[1])
