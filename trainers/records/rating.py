"""How good one answer is, by criterion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from trainers.records.line import Line
from trainers.records.reading import Json, RecordError, text, whole_numbers

POINTS = (2, 7)
"""The fewest and the most points of a criterion."""


@dataclass(frozen=True)
class Rating(Line):
    """How good a person found an answer, by criterion: from 1, the worst, to the criterion's point in `scale`."""

    kind: ClassVar[str] = "rating"

    answer: str
    scores: Mapping[str, int]
    scale: Mapping[str, int]
    """How many points each criterion had: 2 for thumbs."""
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        answer = text(row, "answer", line)
        scores = whole_numbers(row.get("scores"), "scores", line)
        scale = whole_numbers(row.get("scale"), "scale", line)
        _check_scores(scores, scale, line)
        return {"answer": answer, "scores": scores, "scale": scale}


def _check_scores(scores: Mapping[str, int], scale: Mapping[str, int], line: int) -> None:
    if not scores or set(scores) != set(scale):
        raise RecordError(
            line,
            "scores",
            f"judge {_named(scores)}; the scale is of {_named(scale)}.",
            "Both must name the same criteria, at least one.",
        )
    fewest, most = POINTS
    for name, points in scale.items():
        if not fewest <= points <= most:
            raise RecordError(
                line, f"scale.{name}", f"found {points}.", f"Expected {fewest} to {most} points."
            )
        if not 1 <= scores[name] <= points:
            raise RecordError(line, f"scores.{name}", f"found {scores[name]}.", f"Expected 1 to {points}.")


def _named(criteria: Mapping[str, int]) -> str:
    return ", ".join(sorted(criteria)) or "nothing"
