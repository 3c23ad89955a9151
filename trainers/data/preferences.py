"""What was said, as "this answer is better than that one": the one form that all preference losses read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trainers.data.lazy import Lazy, flattened
from trainers.records import Correction, Pair, Prompt, Ranking, Record


@dataclass(frozen=True)
class Preference:
    """`better` over `worse`, counting `weight` times."""

    prompt: Prompt
    better: str
    worse: str
    weight: float
    decided: bool
    """False for one half of a tie, which says nothing about accuracy."""
    annotator: str
    strength: float = 1.0
    """How clearly: 1 slightly, 2 clearly, 3 much."""
    source: str = ""
    """What kind of answer by a person it follows from, and what brought the item: "comparison, import 3"."""


SAID = {"pair": "comparison", "ranking": "ranking", "correction": "edit"}


def preferences(found: Sequence[Record]) -> Lazy[Preference]:
    """Pairs, rankings and corrections as preferences, each made from its record when it is asked for.

    A ranking is its pairs, each at the weight that `Ranking.pairs` gives it. A correction is its edit over its
    original. A tie is both orders at half the weight: the loss is then
    least where the scores are equal. "Both bad" says that neither answer will do, not which is better nor
    that they are alike, and yields nothing; and so do two equal texts, which no score can tell apart.
    """
    return flattened(found, preferences_of)


def preferences_of(record: Record) -> list[Preference]:
    """What one record says."""
    if isinstance(record, Ranking):
        source = source_of(record)
        return [replace(one, source=source) for pair in record.pairs() for one in preferences_of(pair)]
    if isinstance(record, Correction):
        better, worse, decided, strength = record.edited, record.original, True, 1.0
    elif isinstance(record, Pair) and record.outcome != "both_bad":
        better, worse, decided = record.chosen, record.rejected, record.outcome == "chosen"
        strength = record.strength
    else:
        return []
    if better == worse or not record.weight:
        return []
    weight = record.weight if decided else record.weight / 2
    first = Preference(
        record.prompt, better, worse, weight, decided, record.annotator, strength, source_of(record)
    )
    return [first] if decided else [first, replace(first, better=worse, worse=better)]


def source_of(record: Record) -> str:
    """Where a record comes from, in words: a snapshot says under `terms` which import or run brought its item."""
    terms = record.source.get("terms")
    place = terms.get("source") if isinstance(terms, Mapping) else record.source.get("source")
    return ", ".join([SAID.get(record.kind, record.kind), *([place] if isinstance(place, str) else [])])
