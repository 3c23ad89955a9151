"""Models of comparisons that may end in a tie. Both are Bradley-Terry's where no tie is possible.

`h` is r(first) - r(second), [B]; each gives (log P(first is better), log P(tie)), [B], and by symmetry P(second is
better) is P(first is better) at -h. Log-probabilities, so that nothing overflows at any h.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def rao_kupper(h: Tensor, log_threshold: Tensor) -> tuple[Tensor, Tensor]:
    """Two answers look alike within a threshold eta > 0 of scores (Rao and Kupper 1967, with eta = log theta):

    P(first) = sigmoid(h - eta),   P(tie) = (e^(2 eta) - 1) sigmoid(h - eta) sigmoid(-h - eta)
    """
    eta = log_threshold.exp()
    win, lose = F.logsigmoid(h - eta), F.logsigmoid(-h - eta)
    # log(e^(2 eta) - 1) as 2 eta + log(1 - e^(-2 eta)): finite also for a wide threshold.
    return win, 2 * eta + torch.log(-torch.expm1(-2 * eta)) + win + lose


def davidson(h: Tensor, log_threshold: Tensor) -> tuple[Tensor, Tensor]:
    """A tie is as likely as nu times the geometric mean of the two wins (Davidson 1970):

    P(first) : P(tie) : P(second)  =  e^(h / 2) : nu : e^(-h / 2)

    A decided comparison is then Bradley-Terry's: P(first | no tie) = sigmoid(h).
    """
    logits = torch.stack([h / 2, log_threshold.expand_as(h), -h / 2])
    win, tie, _ = logits.log_softmax(dim=0)
    return win, tie


def log_threshold(ties: str, share: float) -> float:
    """The threshold's logarithm at which answers of equal score tie with probability `share`, in (0, 1)."""
    if not 0 < share < 1:
        raise ValueError(f"A share of ties of {share} has no threshold. Expected one between 0 and 1.")
    if ties == "rao_kupper":  # P(tie) = tanh(eta / 2) at h = 0
        return math.log(2 * math.atanh(share))
    return math.log(2 * share / (1 - share))  # nu / (nu + 2)
