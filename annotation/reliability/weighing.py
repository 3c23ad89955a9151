"""From how reliable people are to how much their labels count.

A vote that is right with probability q carries log(q / (1 - q)) of evidence: votes weighed by it are the best vote
there is (Nitzan and Paroush 1982, Optimal decision rules in uncertain dichotomous choice situations). How reliable
somebody is, is itself only estimated, so each log-odds is first drawn to the mean of all, the further the less is
known of them (empirical Bayes; the spread between people by Paule and Mandel 1982, which is 0 where the estimates
differ no more than their errors let them). Without a difference between people all weigh the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def spread(estimates: Floats, errors: Floats) -> tuple[float, float]:
    """The mean of the true values behind noisy estimates, and their variance tau^2 (0 where noise explains all).

    tau^2 solves sum (y_j - mean)^2 / (s_j^2 + tau^2) = n - 1, whose left side falls with tau^2.
    """

    def mean_and_excess(variance: float) -> tuple[float, float]:
        precision = 1 / (errors**2 + variance)
        mean = float((precision * estimates).sum() / precision.sum())
        return mean, float((precision * (estimates - mean) ** 2).sum()) - (len(estimates) - 1)

    low, high = 0.0, float(np.ptp(estimates) ** 2 + 1e-9)
    if len(estimates) < 2 or mean_and_excess(low)[1] <= 0:
        return mean_and_excess(low)[0], 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_and_excess(middle)[1] > 0 else (low, middle)
    return mean_and_excess(high)[0], high


def shrunk(estimates: Floats, errors: Floats) -> Floats:
    """Each estimate, drawn to the mean as far as its error asks."""
    mean, variance = spread(estimates, errors)
    return mean + variance / (variance + errors**2) * (estimates - mean)


def weights(log_odds: Floats, errors: Floats, labels: NDArray[np.int64]) -> Floats:
    """How much a label of each person counts: 1 on average over the labels, never below 0.

    Where nobody is better than chance no weighing helps, and all are 1.
    """
    kept = np.maximum(0.0, shrunk(log_odds, errors))
    total = float((kept * labels).sum())
    return kept * labels.sum() / total if total else np.ones(len(kept))
