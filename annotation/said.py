"""What a row of a file brings: an item to ask about, and what people said of its answers before it came here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainers.records import Span


@dataclass(frozen=True)
class Judgement:
    """Somebody compared two answers, given by their places among the candidates."""

    pair: tuple[int, int]
    winner: int | None
    """None where neither is better: then `choice` says whether both are good or both are bad."""
    choice: str = "chosen"
    strength: float = 1.0
    reason: str = ""
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rewrite:
    """Somebody wrote a better answer in place of a candidate."""

    candidate: int
    text: str
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """Somebody judged a candidate by itself, by criterion."""

    candidate: int
    scores: dict[str, int]
    scale: dict[str, int]
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """Somebody ranked candidates, given by their places among all; None where one has no rank."""

    candidates: tuple[int, ...]
    ranks: tuple[int | None, ...]
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Criticism:
    """Somebody marked what is wrong in a candidate; with nothing said, they found nothing wrong."""

    candidate: int
    spans: tuple[Span, ...]
    missing: tuple[str, ...] = ()
    note: str = ""
    rewrite: str = ""
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Walk:
    """Somebody judged a candidate step by step: 1 right, 0 neutral, -1 wrong, None not judged."""

    candidate: int
    steps: tuple[str, ...]
    labels: tuple[int | None, ...]
    cuts: tuple[tuple[int, int], ...]
    """Where each step stands in the candidate's text."""
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Watched:
    """Somebody compared two clips of robots."""

    pair: tuple[int, int]
    winner: int | None
    choice: str = "chosen"
    strength: float = 1.0
    marks: tuple[tuple[int, int, int], ...] = ()
    """What decided it: the clip's place, and from which step of its episode up to which."""
    reason: str = ""
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corrected:
    """Somebody said what a robot should have done, and whether it succeeded."""

    candidate: int
    corrections: tuple[dict[str, Any], ...]
    success: bool | None = None
    stages: dict[str, bool] = field(default_factory=dict)
    lines: tuple[int, ...] = ()
    """In which line of the file each correction stands."""
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Driven:
    """Somebody drove a robot, to show how it is done."""

    candidate: int
    start: int
    stop: int
    success: bool | None = None
    note: str = ""
    annotator: str = ""
    source: dict[str, Any] = field(default_factory=dict)


Said = Judgement | Rewrite | Score | Order | Criticism | Walk | Watched | Corrected | Driven


@dataclass(frozen=True)
class Row:
    """An item as `services.add_items` takes it, and what was said about it."""

    line: int
    item: dict[str, Any]
    said: list[Said] = field(default_factory=list)
