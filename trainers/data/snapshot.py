"""Reads the records of a snapshot: a folder with `records.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainers import records
from trainers.records import Prompt, Record


def read_records(folder: Path, kinds: Iterable[str]) -> list[Record]:
    """The records of the given kinds, in the file's order; an error where there is none."""
    path, wanted = folder / "records.jsonl", tuple(kinds)
    with open(path, encoding="utf-8") as file:
        found = [records.parse(line, number) for number, line in enumerate(file, start=1) if line.strip()]
    chosen = [record for record in found if record.kind in wanted]
    if not chosen:
        held = ", ".join(sorted({record.kind for record in found})) or "nothing"
        raise ValueError(
            f"{path} holds {held}. Expected records of kind {' or '.join(wanted)}: label some first."
        )
    return chosen


def prompts(found: Iterable[Record]) -> list[Prompt]:
    """Every prompt once, in the order of first appearance."""
    return list(dict.fromkeys(record.prompt for record in found))
