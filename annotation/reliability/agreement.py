"""How far answers agree, on plain arrays: row i says that `person[i]` gave `answer[i]` to the question `unit[i]`.

Each number is checked against a published worked example in `tests/annotation/test_reliability.py`:

- raw agreement, each question once, with Wilson's interval (Wilson 1927);
- Cohen's kappa of two people, plain and with quadratic weights (Cohen 1960, 1968), by scikit-learn;
- Fleiss' kappa of a fixed number of people for each question (Fleiss 1971), by statsmodels;
- Krippendorff's alpha for any number of people and missing answers (Krippendorff 2011), by krippendorff.

What cannot be said (everybody gave one and the same answer, or no question has two) is None.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annotation.quality import wilson

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RESAMPLES = 200
"""Of the bootstrap behind alpha's interval."""


def counted(unit: Ints, answer: Ints, answers: int) -> Ints:
    """[U, A]: how many people gave each answer to each question; questions that two or more answered."""
    if not len(unit):
        return np.zeros((0, answers), dtype=np.int64)
    _, row = np.unique(unit, return_inverse=True)
    table = np.zeros((row.max() + 1, answers), dtype=np.int64)
    np.add.at(table, (row, answer), 1)
    return table[table.sum(axis=1) >= 2]


def raw(counts: Ints) -> dict[str, Any] | None:
    """Of every two answers to one question, the share that are the same; each question counts once.

    Pairs of answers to one question are not independent, so the interval is on the number of questions. `chance` is
    how often two people would agree who answer each by chance, as often with each answer as all did: sum p_a^2.
    """
    if not len(counts):
        return None
    people = counts.sum(axis=1)
    shares = (counts * (counts - 1)).sum(axis=1) / (people * (people - 1))
    low, high = wilson(float(shares.mean()), len(shares))
    overall = counts.sum(axis=0) / counts.sum()
    return {
        "share": float(shares.mean()),
        "low": low,
        "high": high,
        "tasks": len(counts),
        "pairs": int((people * (people - 1) // 2).sum()),
        "chance": float((overall**2).sum()),
    }


def cohen(first: NDArray, second: NDArray, weights: Literal["quadratic"] | None = None) -> float | None:
    """Cohen's kappa between two people's answers to the same questions: (p_o - p_e) / (1 - p_e)."""
    from sklearn.metrics import cohen_kappa_score

    if not len(first):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said by the None
        return _number(cohen_kappa_score(first, second, weights=weights))


def fleiss(counts: Ints) -> dict[str, Any] | None:
    """Fleiss' kappa over the questions that exactly `people` answered, the commonest number of two or more."""
    from statsmodels.stats.inter_rater import fleiss_kappa

    if not len(counts):
        return None
    asked = counts.sum(axis=1)
    people = int(np.bincount(asked).argmax())
    table = counts[asked == people]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = _number(fleiss_kappa(table))
    return {"value": value, "people": people, "tasks": len(table)}


def alpha(
    counts: Ints,
    level: Literal["nominal", "ordinal", "interval"] = "nominal",
    values: Floats | None = None,
    resamples: int = 0,
) -> dict[str, Any] | None:
    """Krippendorff's alpha, 1 - D_o / D_e, and with `resamples` its 95 % interval by a bootstrap over questions.

    `values` are what the columns mean, in order, where they have one.
    """
    value = _alpha(counts, level, values)
    if value is None:
        return None
    found: dict[str, Any] = {"value": value, "tasks": len(counts)}
    if resamples:
        rng = np.random.default_rng(0)
        drawn = [
            _alpha(counts[rng.integers(len(counts), size=len(counts))], level, values)
            for _ in range(resamples)
        ]
        known = [one for one in drawn if one is not None]
        if len(known) > resamples // 2:
            low, high = np.percentile(known, [2.5, 97.5])
            found |= {"low": float(low), "high": float(high)}
    return found


def _alpha(counts: Ints, level: str, values: Floats | None) -> float | None:
    import krippendorff

    used = counts.sum(axis=0) > 0
    if used.sum() < 2:  # one answer alone: nothing to disagree about
        return None
    domain = (np.arange(len(used)) if values is None else np.asarray(values))[used]
    return _number(
        krippendorff.alpha(value_counts=counts[:, used], value_domain=domain, level_of_measurement=level)
    )


def with_others(unit: Ints, person: Ints, answer: Ints, people: int, answers: int) -> tuple[Floats, Ints]:
    """For each person, how often another one's answer to the same question is theirs, and over how many questions."""
    _, row = np.unique(unit, return_inverse=True)
    table = np.zeros((row.max() + 1, answers), dtype=np.int64)
    np.add.at(table, (row, answer), 1)
    others = table.sum(axis=1)[row] - 1
    shared = others > 0
    same = (table[row, answer] - 1)[shared] / others[shared]
    questions = np.bincount(person[shared], minlength=people)
    total = np.bincount(person[shared], weights=same, minlength=people)
    return np.divide(total, questions, out=np.full(people, np.nan), where=questions > 0), questions


def pairs_of_people(unit: Ints, person: Ints, people: int, least: int, most: int) -> list[tuple[int, int]]:
    """The pairs of people with the most questions in common, at least `least` of them; the most first."""
    from scipy import sparse

    _, row = np.unique(unit, return_inverse=True)
    at = sparse.csr_matrix((np.ones(len(unit)), (row, person)), shape=(row.max() + 1, people))
    common = sparse.triu(at.T @ at, k=1).tocoo()
    order = np.lexsort((common.col, common.row, -common.data))[:most]
    return [(int(common.row[n]), int(common.col[n])) for n in order if common.data[n] >= least]


def shared(unit: Ints, person: Ints, one: int, other: int) -> tuple[Ints, Ints]:
    """The rows of two people about the questions that both answered, in the same order."""
    mine, theirs = np.flatnonzero(person == one), np.flatnonzero(person == other)
    _, first, second = np.intersect1d(unit[mine], unit[theirs], return_indices=True)
    return mine[first], theirs[second]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
