"""What the two models say of a study's labels: of people, and of the items that people disagree about.

One fit for all comparisons, and one for each other question. Each is a dictionary of arrays by person, with `items`:
what it says of its items, ready to be kept as JSON.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.reliability import bradley_terry, dawid_skene
from annotation.reliability.answers import Labels, Question

MOST_ITEMS = 40
MOST_POINTS = 300
MOST_ANSWERS = 20
"""Different answers up to which people's mistakes between them are fitted."""


def fits_of(labels: Labels) -> list[dict[str, Any]]:
    """One fit for all comparisons, and one for each other question; with what each says of its items."""
    found = []
    comparisons = [question for question in labels.questions if question.comparison]
    if comparisons:
        found.append(_fit_comparisons(comparisons, len(labels.people)))
    for question in labels.questions:
        if not question.comparison and 2 <= len(question.said) <= MOST_ANSWERS:
            found.append(_fit_answers(question, len(labels.people)))
    return [fit for fit in found if fit]


def _fit_comparisons(questions: list[Question], people: int) -> dict[str, Any] | None:
    """Comparisons and the pairs of rankings together: a pair of answers is one unit, however it was asked about."""
    places: dict[tuple, int] = {}
    columns: list[list[NDArray]] = [[] for _ in range(6)]
    known: dict[int, int] = {}
    tasks: list[int] = []
    for question in questions:
        for unit, task in zip(question.units, question.tasks, strict=True):
            if unit not in places:
                places[unit] = len(places)
                tasks.append(task)
        where = np.array([places[unit] for unit in question.units], dtype=np.int64)
        for unit, point in question.known.items():
            if point.direction:
                known[int(where[unit])] = point.direction
        told = np.abs(question.direction) <= 1
        values = (
            where[question.unit], question.person, question.direction, question.side, question.weight, question.answer
        )  # fmt: skip
        for column, value in zip(columns, values, strict=True):
            column.append(value[told])
    unit, person, direction, side, weight, _ = (np.concatenate(column) for column in columns)
    if not len(unit):
        return None
    settled = np.zeros(len(places), dtype=np.int64)
    settled[list(known)] = list(known.values())
    fit = bradley_terry.fit(
        unit, person, direction, side, units=len(places), people=people, weight=weight, known=settled
    )
    counts = table_of(unit, direction + 1, len(places), 3)
    entropy = _entropy(np.stack([fit.first_better, 1 - fit.first_better], axis=1))
    items = _items("comparisons", list(places), tasks, counts, fit.difficulty, entropy)
    for row in items["hardest"]:
        row["first_better"] = round(float(fit.first_better[row.pop("place")]), 3)
        row["answers"] = dict(zip(("second", "tie", "first"), row["counts"], strict=True))
    items["typical"] = fit.mean
    items["converged"] = fit.converged
    judged = np.bincount(person, minlength=people)
    sided = side != 0
    decided = sided & (direction != 0)
    chose_first = decided & (direction == side)
    return {
        "name": "comparisons",
        "items": items,
        "labels": judged,
        "log_odds": fit.log_odds,
        "log_odds_error": fit.log_odds_error,
        "chance": 0.5,
        "alpha": fit.alpha,
        "alpha_error": fit.alpha_error,
        "beta": fit.beta,
        "beta_error": fit.beta_error,
        "decided": np.bincount(person[decided], minlength=people),
        "chose_first": np.bincount(person[chose_first], minlength=people),
    }


def _fit_answers(question: Question, people: int) -> dict[str, Any] | None:
    """A nominal question, on the units that two or more answered or whose answer is known."""
    counts = table_of(question.unit, question.answer, len(question.units), len(question.said))
    known = np.full(len(question.units), -1, dtype=np.int64)
    for unit, point in question.known.items():
        if point.said in question.said:
            known[unit] = question.said.index(point.said)
    useful = (counts.sum(axis=1) >= 2) | (known >= 0)
    rows = useful[question.unit]
    if not rows.any():
        return None
    place = np.cumsum(useful) - 1
    fit = dawid_skene.fit(
        place[question.unit[rows]], question.person[rows], question.answer[rows],
        units=int(useful.sum()), people=people, answers=len(question.said), known=known[useful],
    )  # fmt: skip
    kept = np.flatnonzero(useful)
    right = fit.confusion.mean(axis=0).diagonal()
    items = _items(
        question.name,
        [question.units[unit] for unit in kept],
        [question.tasks[unit] for unit in kept],
        counts[useful],
        (fit.truth * (1 - right)).sum(axis=1),
        _entropy(fit.truth),
    )
    for row in items["hardest"]:
        row.pop("place")
        row["answers"] = dict(zip(question.said, row["counts"], strict=True))
    return {
        "name": question.name,
        "items": items,
        "labels": np.bincount(question.person[rows], minlength=people),
        "log_odds": fit.log_odds,
        "log_odds_error": fit.log_odds_error,
        "chance": 1 / len(question.said),
    }


def table_of(unit: NDArray, answer: NDArray, units: int, answers: int) -> NDArray[np.int64]:
    """[T, A], of all units."""
    table = np.zeros((units, answers), dtype=np.int64)
    np.add.at(table, (unit, answer), 1)
    return table


def _entropy(chances: NDArray) -> NDArray:
    """In bits, of each row."""
    kept = np.clip(chances, 1e-12, 1.0)
    return -(kept * np.log2(kept)).sum(axis=1)


def _items(name, units, tasks, counts, difficulty, entropy) -> dict[str, Any]:
    """The units that two or more answered: a sample to draw, and the hardest ones."""
    asked = counts.sum(axis=1)
    same = (counts * (counts - 1)).sum(axis=1) / np.maximum(asked * (asked - 1), 1)
    shared = np.flatnonzero(asked >= 2)
    order = shared[np.argsort(-difficulty[shared], kind="stable")]
    sample = np.random.default_rng(0).permutation(shared)[:MOST_POINTS]
    return {
        "name": name,
        "chance": 0.5 if name == "comparisons" else 1 / counts.shape[1],
        "tasks": len(units),
        "shared": len(shared),
        "points": [
            [round(float(difficulty[n]), 3), round(float(1 - same[n]), 3), int(asked[n]), units[n][0]]
            for n in sample
        ],
        "hardest": [
            {
                "place": int(n),
                "item": units[n][0],
                "task": tasks[n],
                "difficulty": round(float(difficulty[n]), 3),
                "entropy": round(float(entropy[n]), 3),
                "disagreement": round(float(1 - same[n]), 3),
                "people": int(asked[n]),
                "counts": counts[n].tolist(),
            }
            for n in order[:MOST_ITEMS]
        ],
    }
