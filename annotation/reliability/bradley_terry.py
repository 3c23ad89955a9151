"""A Bradley-Terry model of comparisons whose people differ.

Of a comparison t, the first answer is better than the second by d_t, on a scale that is the model's own. Person j,
to whom the first answer was shown on side s (+1 first, -1 second, 0 not known), says (Davidson 1970, On extending the
Bradley-Terry model to accommodate ties; Bradley and Terry 1952)

    z = alpha_j d_t + beta_j s
    P(first better), P(second better), P(tie)   in the ratio   exp(z / 2), exp(-z / 2), exp(gamma_j)

so that without ties P(first better) = sigmoid(alpha_j d_t + beta_j s). alpha_j is how reliably j tells the better
answer (0: by a coin; below 0: the other way round; as in Chen et al. 2013, Pairwise ranking aggregation in a
crowdsourced setting), beta_j how strongly j leans to the side shown first (as the home advantage in Agresti 1990,
Categorical Data Analysis), gamma_j how readily j says that two answers are equally good.

With two or three labels each, the d_t cannot be estimated beside the people without bias (Neyman and Scott 1948).
They are integrated out, d_t ~ N(0, 1), on a grid of K points, as item response theory does (Bock and Aitkin 1981):

    log L = sum_t log sum_k w_k prod_{l in t} P(y_l | d_k, j_l, s_l) ^ weight_l

The weak priors are alpha_j ~ N(m, 1), beta_j ~ N(0, 1), gamma_j ~ N(g, 1), m ~ N(2, 1), g ~ N(-1, 2^2). m = 2 is
an agreement of about 70 %, which is what is published of such labels. A known answer (gold) allows only the points
on its side of 0. Every label is one of J * 9 cells (person, side, answer), so that a step costs two products with a
sparse [T, J * 9] matrix.

"The better answer" is what people have in common: what all of them get wrong together cannot be seen in what they
say. Left out: strengths, covariates, and that of three answers the differences must add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

GRID = np.linspace(-4, 4, 40)
"""Of even number: no point is at 0, where neither answer is better."""
PRIOR = np.exp(-0.5 * GRID**2) / np.exp(-0.5 * GRID**2).sum()
SIDES = np.array([-1.0, 0.0, 1.0])
ANSWERS = np.array([-1.0, 0.0, 1.0])
"""Second better, tie, first better."""
CENTRES = {"alpha": (2.0, 1.0), "gamma": (-1.0, 2.0)}
"""Mean and deviation of the priors on m and g."""
DENSEST = 4_000_000
"""Multiplications a grid point up to which the errors take into account that people are estimated together."""


@dataclass(frozen=True)
class Fit:
    """What the labels say about people [J] and about comparisons [T]."""

    alpha: Floats
    beta: Floats
    gamma: Floats
    alpha_error: Floats
    beta_error: Floats
    accuracy: Floats
    """q_j: the probability that j sides with the better answer of a comparison drawn at random, shown either way
    round; half of a tie counts."""
    log_odds: Floats
    """log(q / (1 - q))"""
    log_odds_error: Floats
    mean: float
    """m"""
    first_better: Floats
    """P(d_t > 0)"""
    difficulty: Floats
    """How often a typical person sides with the other answer than the fitted one: 0 clear, 0.5 a coin."""
    converged: bool


@dataclass(frozen=True)
class Comparisons:
    """Labels, counted by comparison and cell, and what is known of the comparisons."""

    cells: object
    """Sparse [T, J * 9]: the weight of the labels of each cell."""
    log_prior: Floats
    """[T, K], or [1, K]: where a point is impossible, -inf."""
    people: int


def fit(
    unit: Ints,
    person: Ints,
    answer: Ints,
    side: Ints,
    *,
    units: int,
    people: int,
    weight: Floats | None = None,
    known: Ints | None = None,
) -> Fit:
    """Fits labels given as arrays: `answer` and `side` are -1, 0 or 1; `known` is too, one for each comparison."""
    from scipy.optimize import minimize

    data = _comparisons(unit, person, answer, side, units, people, weight, known)
    start = np.concatenate(
        [
            [CENTRES["alpha"][0], CENTRES["gamma"][0]],
            np.full(people, 1.5),
            np.zeros(people),
            np.full(people, -1),
        ]
    )
    found = minimize(
        _loss, start, args=(data,), jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxcor": 20}
    )
    m, _, alpha, beta, gamma = _split(found.x, people)
    posterior = _posterior(data, _log_chances(alpha, beta, gamma))[1]
    covariance = _covariance(data, alpha, beta, gamma, posterior)
    accuracy, log_odds_error = _accuracy(alpha, beta, gamma, covariance)
    log_odds = np.log(accuracy / (1 - accuracy))
    errors = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    first = posterior[:, GRID > 0].sum(axis=1)
    toward = np.where(first >= 0.5, 1.0, -1.0)
    mistaken = 1 / (1 + np.exp(m * toward[:, None] * GRID))
    return Fit(
        alpha, beta, gamma, errors[:, 0], errors[:, 1], accuracy, log_odds, log_odds_error,
        mean=m, first_better=first, difficulty=(posterior * mistaken).sum(axis=1), converged=bool(found.success),
    )  # fmt: skip


def _comparisons(unit, person, answer, side, units, people, weight, known) -> Comparisons:
    from scipy import sparse

    cell = (person * 3 + (side + 1)) * 3 + (answer + 1)
    amount = np.ones(len(unit)) if weight is None else weight
    cells = sparse.csr_matrix((amount, (unit, cell)), shape=(units, people * 9))
    log_prior = np.log(PRIOR)[None, :]
    if known is not None and known.any():
        impossible = known[:, None] * np.sign(GRID)[None, :] < 0
        log_prior = np.where(impossible, -np.inf, log_prior)
    return Comparisons(cells, log_prior, people)


def _split(parameters: Floats, people: int) -> tuple[float, float, Floats, Floats, Floats]:
    alpha, beta, gamma = parameters[2:].reshape(3, people)
    return float(parameters[0]), float(parameters[1]), alpha, beta, gamma


def _log_chances(alpha: Floats, beta: Floats, gamma: Floats) -> Floats:
    """[J, 3, 3, K]: log P(answer) of each person, side and point of the grid."""
    z = alpha[:, None, None] * GRID + beta[:, None, None] * SIDES[:, None]  # [J, 3, K]
    ties = np.broadcast_to(gamma[:, None, None], z.shape)
    scores = np.stack([-z / 2, ties, z / 2], axis=2)
    top = scores.max(axis=2, keepdims=True)
    return scores - top - np.log(np.exp(scores - top).sum(axis=2, keepdims=True))


def _posterior(data: Comparisons, log_chances: Floats) -> tuple[float, Floats]:
    """log L, and [T, K]: how likely each point is for each comparison."""
    joint = data.cells @ log_chances.reshape(-1, len(GRID)) + data.log_prior
    top = joint.max(axis=1, keepdims=True)
    joint = np.exp(joint - top)
    total = joint.sum(axis=1, keepdims=True)
    return float((top + np.log(total)).sum()), joint / total


def _loss(parameters: Floats, data: Comparisons) -> tuple[float, Floats]:
    """Minus the log posterior, and its gradient."""
    m, g, alpha, beta, gamma = _split(parameters, data.people)
    log_chances = _log_chances(alpha, beta, gamma)
    likelihood, posterior = _posterior(data, log_chances)
    seen = (data.cells.T @ posterior).reshape(
        log_chances.shape
    )  # [J, 3, 3, K] labels, by where they may stand
    chances = np.exp(log_chances)
    by_z = (seen * ANSWERS[:, None]).sum(axis=2) - seen.sum(axis=2) * (chances[:, :, 2] - chances[:, :, 0])
    by_z /= 2  # d log P / dz, [J, 3, K]
    by_tie = seen[:, :, 1] - seen.sum(axis=2) * chances[:, :, 1]
    (m0, m_wide), (g0, g_wide) = CENTRES["alpha"], CENTRES["gamma"]
    prior = ((alpha - m) ** 2).sum() + (beta**2).sum() + ((gamma - g) ** 2).sum()
    prior += ((m - m0) / m_wide) ** 2 + ((g - g0) / g_wide) ** 2
    gradient = np.concatenate(
        [
            [(alpha - m).sum() - (m - m0) / m_wide**2, (gamma - g).sum() - (g - g0) / g_wide**2],
            (by_z * GRID).sum(axis=(1, 2)) - (alpha - m),
            (by_z * SIDES[:, None]).sum(axis=(1, 2)) - beta,
            by_tie.sum(axis=(1, 2)) - (gamma - g),
        ]
    )
    return prior / 2 - likelihood, -gradient


def _covariance(data: Comparisons, alpha: Floats, beta: Floats, gamma: Floats, posterior: Floats) -> Floats:
    """[J, 3, 3] of (alpha_j, beta_j, gamma_j), by the observed information (Louis 1982):

    what the labels would say if the d_t were known, less what is lost by not knowing them. Where people meet on too
    many comparisons for that, each is taken as if the others were known, which makes errors a little too small.
    """
    from scipy import sparse

    people = data.people
    log_chances = _log_chances(alpha, beta, gamma)
    chances = np.exp(log_chances)
    # x: what (alpha, beta, gamma) add to each answer's score, [3 answers, 3 parameters, J, 3 sides, K]
    x = np.zeros((3, 3, people, 3, len(GRID)))
    for a, said in enumerate(ANSWERS):
        x[a, 0], x[a, 1] = said * GRID / 2, said * SIDES[:, None] / 2
    x[1, 2] = 1.0
    p = chances.transpose(2, 0, 1, 3)  # [answer, J, side, K]
    mean = np.einsum("ajsk,apjsk->pjsk", p, x)
    score = x - mean  # [answer, parameter, J, side, K]
    seen = (data.cells.T @ posterior).reshape(chances.shape).sum(axis=2)  # [J, side, K]
    complete = np.einsum("ajsk,apjsk,aqjsk,jsk->jpq", p, score, score, seen, optimize=True)
    complete += np.eye(3)  # the priors, m and g taken as known

    together = int((np.diff(data.cells.indptr).astype(np.int64) ** 2).sum()) * 9 <= DENSEST
    columns = np.arange(people * 9) // 9  # the person of a cell
    by_cell = score.transpose(4, 2, 3, 0, 1).reshape(len(GRID), people * 9, 3)
    rows = np.repeat(np.arange(people * 9), 3)
    own = (columns[:, None] * 3 + np.arange(3)).ravel()
    lost = np.zeros((people * 3, people * 3)) if together else np.zeros((people, 3, 3))
    average = None
    for k in range(len(GRID)):
        scores = data.cells @ sparse.csr_matrix(
            (by_cell[k].ravel(), (rows, own)), shape=(people * 9, people * 3)
        )
        at = sparse.diags(posterior[:, k]) @ scores
        average = at if average is None else average + at
        lost += _outer(scores, at, together, people)
    lost -= _outer(average, average, together, people)
    if not together:
        return np.linalg.inv(complete - lost)
    information = -lost
    for j in range(people):
        block = slice(3 * j, 3 * j + 3)
        information[block, block] += complete[j]
    covariance = np.linalg.inv(information).reshape(people, 3, people, 3)
    return covariance[np.arange(people), :, np.arange(people), :]


def _outer(left, right, together: bool, people: int) -> Floats:
    """sum_t left_t right_t^T: of everybody with everybody, or of each person alone."""
    if together:
        return (left.T @ right).toarray()
    blocks = np.empty((people, 3, 3))
    left, right = left.tocsc(), right.tocsc()
    for p in range(3):
        for q in range(3):
            product = left[:, p::3].multiply(right[:, q::3])
            blocks[:, p, q] = np.asarray(product.sum(axis=0)).ravel()
    return blocks


def _accuracy(alpha: Floats, beta: Floats, gamma: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """q_j, and the error of log(q / (1 - q)), carried over from those of the parameters (delta method)."""

    def log_odds(alpha: Floats, beta: Floats, gamma: Floats) -> tuple[Floats, Floats]:
        chances = np.exp(_log_chances(alpha, beta, gamma))[:, [0, 2]]  # a side each, as often
        right = np.where(GRID > 0, chances[:, :, 2], chances[:, :, 0]) + chances[:, :, 1] / 2
        q = np.clip((right * PRIOR).sum(axis=2).mean(axis=1), 1e-6, 1 - 1e-6)
        return q, np.log(q / (1 - q))

    q, here = log_odds(alpha, beta, gamma)
    step = 1e-4
    moved = (
        log_odds(alpha + step, beta, gamma),
        log_odds(alpha, beta + step, gamma),
        log_odds(alpha, beta, gamma + step),
    )
    slope = np.stack([(there - here) / step for _, there in moved], axis=1)
    return q, np.sqrt(np.einsum("jp,jpq,jq->j", slope, covariance, slope))
