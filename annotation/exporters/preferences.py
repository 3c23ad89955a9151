"""Records in the spelling of TRL: prompt, chosen and rejected, or prompt and completion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from annotation.exporters.asked import Ties
from trainers import records

Row = dict[str, Any]


def preferences(record: records.Record, ties: Ties) -> Iterator[tuple[records.Pair, float]]:
    """The decided pairs that a record says, with their weights; none for what is no preference."""
    if isinstance(record, records.Ranking):
        for pair in record.pairs():
            yield from preferences(pair, ties)
    elif isinstance(record, records.Correction):
        chosen, rejected = record.edited, record.original
        yield (
            records.Pair(
                record.id,
                record.prompt,
                chosen,
                rejected,
                weight=record.weight,
                annotator=record.annotator,
                source=record.source,
            ),
            record.weight,
        )
    elif isinstance(record, records.Pair):
        if record.outcome == "chosen":
            yield record, record.weight
        elif record.outcome == "tie" and ties != "drop":
            weight = record.weight / 2 if ties == "half" else record.weight
            yield record, weight
            if ties != "first":
                yield turned(record), weight


def turned(pair: records.Pair) -> records.Pair:
    """A tie the other way round."""
    return records.Pair(
        pair.id,
        pair.prompt,
        pair.rejected,
        pair.chosen,
        pair.outcome,
        pair.strength,
        pair.weight,
        pair.annotator,
        pair.reason,
        pair.source,
    )


def plain(pair: records.Pair, weight: float, ties: Ties) -> Row:
    """TRL's standard preference: three texts. A chat is one text, its turns named, up to the assistant's."""
    return weighed(
        {"prompt": as_text(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected}, weight, ties
    )


def chat(pair: records.Pair, weight: float, ties: Ties) -> Row:
    """TRL's conversational preference: three lists of messages."""
    row = {
        "prompt": as_messages(pair.prompt),
        "chosen": answer(pair.chosen),
        "rejected": answer(pair.rejected),
    }
    return weighed(row, weight, ties)


def weighed(row: Row, weight: float, ties: Ties) -> Row:
    """A weight only where the policy for ties speaks by it: a column that is missing in some rows helps nobody."""
    return {**row, "weight": weight} if ties == "half" else row


def completion(record: records.Record) -> Row | None:
    """TRL's prompt and completion: what a person wrote, or rewrote; None for the rest."""
    if isinstance(record, records.Demonstration):
        return {"prompt": as_messages(record.prompt), "completion": answer(record.answer)}
    if isinstance(record, records.Correction):
        return {"prompt": as_messages(record.prompt), "completion": answer(record.edited)}
    return None


def answer(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def as_messages(prompt: records.Prompt) -> list[Row]:
    """A plain prompt is one turn of the user."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": message.role, "content": message.content} for message in prompt]


def as_text(prompt: records.Prompt) -> str:
    return prompt if isinstance(prompt, str) else f"{records.prompt_text(prompt)}\n\nassistant: "
