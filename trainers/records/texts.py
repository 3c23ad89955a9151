"""What people wrote themselves: an answer of their own, or a better version of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from trainers.records.line import Line
from trainers.records.reading import Json, text


@dataclass(frozen=True)
class Correction(Line):
    """An answer as a person rewrote it: `edited` is better than `original`."""

    kind: ClassVar[str] = "correction"

    original: str
    edited: str
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        return {"original": text(row, "original", line), "edited": text(row, "edited", line)}


@dataclass(frozen=True)
class Demonstration(Line):
    """An answer that a person wrote."""

    kind: ClassVar[str] = "demonstration"

    answer: str
    weight: float = 1.0
    annotator: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def said(cls, row: Json, line: int) -> Json:
        return {"answer": text(row, "answer", line)}
