"""CSV: a record a line, for spreadsheets. No cell of it is run as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from trainers import records

COLUMNS = (
    "id", "kind", "prompt", "chosen", "rejected", "outcome", "strength", "answer", "judgement", "weight",
    "annotator", "reason", "given_at", "item", "task", "licence", "split",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet run a cell."""


def header() -> bytes:
    return line(COLUMNS)


def row(record: records.Record, split: str) -> bytes:
    cells = cells_of(record)
    given, terms = record.source.get("given", {}), record.source.get("terms", {})
    cells |= {
        "id": record.id,
        "kind": record.kind,
        "prompt": records.prompt_text(record.prompt),
        "weight": record.weight,
        "annotator": record.annotator,
        "given_at": given.get("at", ""),
        "item": record.source.get("external_id") or record.source.get("item", ""),
        "task": record.source.get("task", ""),
        "licence": terms.get("licence", ""),
        "split": split,
    }
    return line([cells.get(name, "") for name in COLUMNS])


def cells_of(record: records.Record) -> dict[str, Any]:
    """What a record says in columns; what has no column of its own is JSON under `judgement`."""
    known = ("id", "kind", "prompt", "weight", "annotator", "source")
    said = {name: value for name, value in record.to_json().items() if name not in known}
    if isinstance(record, records.Correction):
        said = {"chosen": record.edited, "rejected": record.original, "outcome": "chosen"}
    own = {name: said.pop(name) for name in list(said) if name in COLUMNS}
    return own | ({"judgement": records.canonical(said)} if said else {})


def line(cells: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([safe(str(cell)) for cell in cells])
    return text.getvalue().encode()


def safe(cell: str) -> str:
    """A cell that no spreadsheet runs: an apostrophe before what would be a formula, and before an apostrophe."""
    return f"'{cell}" if cell.startswith((*FORMULA, "'")) else cell


def unsafe(cell: str) -> str:
    """The cell as it was before `safe`."""
    return cell[1:] if cell.startswith("'") else cell


def lines(chosen: Iterator[tuple[str, records.Record]]) -> Iterator[bytes]:
    yield header()
    for split, record in chosen:
        yield row(record, split)
