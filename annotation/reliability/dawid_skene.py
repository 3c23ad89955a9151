"""How people mistake one answer for another (Dawid and Skene 1979, Maximum likelihood estimation of observer
error-rates using the EM algorithm).

A question t has one true answer c, drawn with probability pi_c; person j gives the answer l with probability
C_j[c, l], each time anew:

    E:  P(c | t)  in the ratio  pi_c prod_{l in t} C_j[c, y_l]
    M:  C_j[c, l]  in the ratio  smoothing + sum_t P(c | t) n_tjl          pi_c = mean_t P(c | t)

beginning with the shares of the answers. Own lines, because the one kept library for it asks for the packages of
language models. Left out: that of ordered answers a near miss is the likelier one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What the answers say about people [J], about answers [A], and about questions [T]."""

    share: Floats
    """pi_c"""
    confusion: Floats
    """C_j[c, l], [J, A, A]"""
    truth: Floats
    """P(c | t), [T, A]"""
    accuracy: Floats
    """q_j = sum_c pi_c C_j[c, c]"""
    log_odds: Floats
    """log(q (A - 1) / (1 - q)): the evidence of one vote among A answers; 0 is chance."""
    log_odds_error: Floats


def fit(
    unit: Ints,
    person: Ints,
    answer: Ints,
    *,
    units: int,
    people: int,
    answers: int,
    smoothing: float = 0.5,
    steps: int = 200,
    known: Ints | None = None,
) -> Fit:
    """`known` gives the true answer of each question, or -1."""
    from scipy import sparse

    cell = person * answers + answer
    given = sparse.csr_matrix((np.ones(len(unit)), (unit, cell)), shape=(units, people * answers))
    truth = np.zeros((units, answers))
    np.add.at(truth, (unit, answer), 1.0)
    truth /= truth.sum(axis=1, keepdims=True)
    certain = None if known is None else np.flatnonzero(known >= 0)
    before = None
    for _ in range(steps):
        if certain is not None:
            truth[certain] = np.eye(answers)[known[certain]]
        share = truth.mean(axis=0)
        confusion = (given.T @ truth).reshape(people, answers, answers).transpose(0, 2, 1) + smoothing
        total = confusion.sum(axis=2, keepdims=True)
        confusion = np.divide(confusion, total, out=np.full_like(confusion, 1 / answers), where=total > 0)
        with np.errstate(divide="ignore"):
            log_confusion = np.maximum(np.log(confusion), -1e3)  # never said: as good as impossible
            joint = given @ log_confusion.transpose(0, 2, 1).reshape(-1, answers) + np.log(share)
        joint = np.exp(joint - joint.max(axis=1, keepdims=True))
        truth = joint / joint.sum(axis=1, keepdims=True)
        if before is not None and np.abs(truth - before).max() < 1e-6:
            break
        before = truth
    # Right and wrong answers of each person, as counts: their log-odds have the error of a share.
    right = np.bincount(person, weights=truth[unit, answer], minlength=people)
    wrong = np.bincount(person, minlength=people) - right
    odds = np.log((right + 0.5) / (wrong + 0.5)) + np.log(max(answers - 1, 1))
    accuracy = (share * np.diagonal(confusion, axis1=1, axis2=2)).sum(axis=1)
    return Fit(share, confusion, truth, accuracy, odds, np.sqrt(1 / (right + 0.5) + 1 / (wrong + 0.5)))
