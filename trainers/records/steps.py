"""How a worked solution goes, step by step: which steps are right, and where it first goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from trainers.records.line import Line
from trainers.records.reading import Json, RecordError, listed, shown, texts, whole

RIGHT, NEUTRAL, WRONG = 1, 0, -1


@dataclass(frozen=True)
class StepLabels(Line):
    """A solution's steps, each judged right (1), neutral (0) or wrong (-1), or not judged at all (None)."""

    kind: ClassVar[str] = "step_labels"

    steps: tuple[str, ...]
    labels: tuple[int | None, ...]
    first_wrong: int | None
    """The place of the first wrong step, counted from 0. None where none is wrong, or it is not known."""
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        steps = texts(listed(row, "steps", line, fewest=1), "steps", line)
        labels = tuple(listed(row, "labels", line, fewest=1))
        _check_labels(steps, labels, line)
        first = row.get("first_wrong")
        if first is not None:
            _check_first(whole(first, "first_wrong", line), labels, line)
        return {"steps": steps, "labels": labels, "first_wrong": first}


def _check_labels(steps: tuple[str, ...], labels: tuple[Any, ...], line: int) -> None:
    if len(labels) != len(steps):
        raise RecordError(
            line, "labels", f"found {len(labels)} for {len(steps)} steps.", "Give each a label, or null."
        )
    for n, label in enumerate(labels):
        if label is not None and (type(label) is not int or label not in (RIGHT, NEUTRAL, WRONG)):
            raise RecordError(
                line,
                f"labels[{n}]",
                f"found {shown(label)}.",
                "Expected 1 (right), 0 (neutral), -1 (wrong), or null where it was not judged.",
            )


def _check_first(first: int, labels: tuple[int | None, ...], line: int) -> None:
    if not 0 <= first < len(labels) or labels[first] != WRONG or WRONG in labels[:first]:
        raise RecordError(
            line,
            "first_wrong",
            f"found {first} with the labels {shown(list(labels))}.",
            "Expected the place, from 0, of the first step labelled -1; or null where there is none.",
        )
