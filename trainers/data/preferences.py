"""What was said, as "this answer is better than that one": the one form that all preference losses read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


def preferences(found: Iterable[Record]) -> list[Preference]:
    """Pairs, rankings and corrections as preferences.

    A ranking is its pairs, each at the weight that `Ranking.pairs` gives it. A correction is its edit over its
    original. A tie is both orders at half the weight: the loss is then
    least where the scores are equal. "Both bad" says that neither answer will do, not which is better nor
    that they are alike, and yields nothing; and so do two equal texts, which no score can tell apart.
    """
    rows: list[Preference] = []
    for record in found:
        if isinstance(record, Ranking):
            rows += preferences(record.pairs())
            continue
        if isinstance(record, Correction):
            sides, decided, strength = (record.edited, record.original), True, 1.0
        elif isinstance(record, Pair) and record.outcome != "both_bad":
            sides, decided = (record.chosen, record.rejected), record.outcome == "chosen"
            strength = record.strength
        else:
            continue
        better, worse = sides
        if better == worse or not record.weight:
            continue
        weight = record.weight if decided else record.weight / 2
        rows.append(Preference(record.prompt, better, worse, weight, decided, record.annotator, strength))
        if not decided:
            rows.append(Preference(record.prompt, worse, better, weight, decided, record.annotator, strength))
    return rows
