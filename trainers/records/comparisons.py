"""Answers set against each other: two of them (`Pair`), or several in an order (`Ranking`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar, Literal

from trainers.records.line import Line
from trainers.records.reading import (
    Json,
    RecordError,
    listed,
    number,
    shown,
    text,
    text_or_none,
    texts,
    whole_numbers,
)

OUTCOMES = ("chosen", "tie", "both_bad")
RANKED = (2, 9)
"""The fewest and the most answers in a ranking."""
CRITERION = 3
"""How far a criterion may speak for one of two answers."""

Outcome = Literal["chosen", "tie", "both_bad"]


@dataclass(frozen=True)
class Pair(Line):
    """Two answers to one prompt, and which of them a person found better.

    For a tie, and where both are bad, `chosen` and `rejected` are just the two answers in a fixed order.
    """

    kind: ClassVar[str] = "pair"

    chosen: str
    rejected: str
    outcome: Outcome = "chosen"
    strength: float = 1.0
    """How clearly: 1 slightly, 2 clearly, 3 much."""
    weight: float = 1.0
    annotator: str = ""
    reason: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    criteria: Mapping[str, int] = field(default_factory=dict)
    """By criterion, from -3 to 3: above 0 `chosen` is better by it, below 0 `rejected` is, and at 0 neither."""

    def to_json(self) -> Json:
        row = super().to_json()
        if not self.criteria:
            del row["criteria"]  # a pair without criteria keeps the bytes, and the digest, it always had
        return row

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        outcome = row.get("outcome", "chosen")
        if outcome not in OUTCOMES:
            raise RecordError(
                line, "outcome", f"found {shown(outcome)}.", f"Expected one of {', '.join(OUTCOMES)}."
            )
        criteria = whole_numbers(row.get("criteria", {}), "criteria", line)
        for name, toward in criteria.items():
            if abs(toward) > CRITERION:
                raise RecordError(
                    line,
                    f"criteria.{name}",
                    f"found {toward}.",
                    f"Expected -{CRITERION} (rejected is much better) to {CRITERION} (chosen is).",
                )
        return {
            "chosen": text(row, "chosen", line),
            "rejected": text(row, "rejected", line),
            "outcome": outcome,
            "strength": number(row.get("strength", 1.0), "strength", line),
            "reason": text_or_none(row, "reason", line),
            "criteria": criteria,
        }


@dataclass(frozen=True)
class Ranking(Line):
    """Answers to one prompt as a person ordered them: the best have rank 1, equally good ones the same rank.

    An answer that was left out has no rank (None), and nothing is known of it.
    """

    kind: ClassVar[str] = "ranking"

    answers: tuple[str, ...]
    ranks: tuple[int | None, ...]
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        answers = texts(listed(row, "answers", line, *RANKED), "answers", line)
        ranks = tuple(listed(row, "ranks", line, *RANKED))
        _check_ranks(answers, ranks, line)
        return {"answers": answers, "ranks": ranks}

    def pairs(self) -> list[Pair]:
        """Every two ranked answers as a pair: the better over the worse, or a tie.

        The m (m - 1) / 2 pairs of m answers follow from m - 1 decisions, so each counts 2 / m times: a ranking of two
        answers counts like one pair, and a ranking of nine like eight.
        """
        ranked = [(rank, place) for place, rank in enumerate(self.ranks) if rank is not None]
        found = []
        for (rank, place), (other_rank, other) in combinations(ranked, 2):
            first, second = (other, place) if other_rank < rank else (place, other)
            found.append(
                Pair(
                    f"{self.id}-{place}-{other}",
                    self.prompt,
                    self.answers[first],
                    self.answers[second],
                    "tie" if rank == other_rank else "chosen",
                    weight=self.weight * 2 / len(ranked),
                    annotator=self.annotator,
                    source=self.source,
                )
            )
        return found


def _check_ranks(answers: tuple[str, ...], ranks: tuple[Any, ...], line: int) -> None:
    if len(ranks) != len(answers):
        raise RecordError(
            line, "ranks", f"found {len(ranks)} for {len(answers)} answers.", "Give each a rank, or null."
        )
    given = [rank for rank in ranks if rank is not None]
    for rank in given:
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise RecordError(line, "ranks", f"found {shown(rank)}.", "Expected whole numbers, or null.")
    if len(given) < 2 or set(given) != set(range(1, max(given) + 1)):
        raise RecordError(
            line,
            "ranks",
            f"found {shown(list(ranks))}.",
            "Expected 1 for the best, then 2 and so on with none left out; two answers must have a rank.",
        )
