"""What people wrote, or chose, as answers to imitate."""

from __future__ import annotations

from trainers.records import Correction, Demonstration, Pair, Prompt, Record


def demonstrated(record: Record) -> list[tuple[Prompt, str, float]]:
    """(prompt, answer, weight) of what in a record is worth imitating."""
    if not record.weight:
        return []
    if isinstance(record, Demonstration):
        return [(record.prompt, record.answer, record.weight)]
    if isinstance(record, Correction):
        return [(record.prompt, record.edited, record.weight)]
    if isinstance(record, Pair) and record.outcome == "chosen":
        return [(record.prompt, record.chosen, record.weight)]
    return []
