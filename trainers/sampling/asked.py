"""Prompts as they are given on a command line: a file of them, a folder of records, or the words themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainers.records import Prompt, RecordError, read_row
from trainers.records.prompts import read_prompt


def prompts_of(given: Iterable[str]) -> list[Prompt]:
    """Every prompt once, in order.

    Each of `given` is a folder with records.jsonl, a file that ends with .jsonl, or else a prompt. A line of a file is
    a record, or an object with a "prompt" (a text or messages) or "messages". Raises RecordError, which names the line,
    and FileNotFoundError for a .jsonl file that is not there.
    """
    found: dict[str, Prompt] = {}
    for one in given:
        path = Path(one)
        if path.is_dir():
            path = path / "records.jsonl"
        for prompt in _read(path) if path.suffix == ".jsonl" else [one]:
            found.setdefault(repr(prompt), prompt)
    return list(found.values())


def _read(path: Path) -> Iterator[Prompt]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = read_row(line, number)
            if "prompt" not in row and "messages" not in row:
                raise RecordError(
                    number,
                    "prompt",
                    f"{path} has none; found {', '.join(row)}.",
                    f'Write {json.dumps({"prompt": "…"}, ensure_ascii=False)}, or "messages".',
                )
            name = "prompt" if "prompt" in row else "messages"
            yield read_prompt(row[name], name, number)
