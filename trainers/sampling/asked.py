"""Prompts as they are given on a command line: a file of them, a folder of records, or the words themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainers.records import Json, Prompt, RecordError, decoded, read_row
from trainers.records.prompts import read_prompt
from trainers.registry import ConfigError


def prompts_of(given: Iterable[str]) -> list[Prompt]:
    """Every prompt once, in order.

    Each of `given` is a folder with records.jsonl, a file that ends with .jsonl, or else a prompt. A line of a file is
    a record, or an object with a "prompt" (a text or messages) or "messages". Raises RecordError, which names the line,
    FileNotFoundError for a .jsonl file that is not there, and ConfigError for another file: its name is no prompt.
    """
    found: dict[str, Prompt] = {}
    for one in given:
        path = Path(one)
        if os.path.isdir(one):  # pathlib would refuse a prompt that is too long for a name
            path = path / "records.jsonl"
        elif path.suffix != ".jsonl" and os.path.isfile(one):
            raise ConfigError(
                "prompts",
                f"{one} is a file whose name does not end with .jsonl. Write its prompts to one that does, as "
                '{"prompt": "…"} on a line each; or give the prompt itself.',
            )
        for prompt in _read(path) if path.suffix == ".jsonl" else [one]:
            found.setdefault(repr(prompt), prompt)
    return list(found.values())


def _read(path: Path) -> Iterator[Prompt]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield prompt_in(read_row(decoded(line, number), number), number)
            except RecordError as problem:
                raise problem.of(path) from None


def prompt_in(row: Json, line: int) -> Prompt:
    """The "prompt" of a row, or its "messages"."""
    if "prompt" not in row and "messages" not in row:
        raise RecordError(
            line,
            "prompt",
            f"found {', '.join(row) or 'nothing'}, expected a prompt.",
            'Write "prompt": "…", or "messages": [{"role": "user", "content": "…"}].',
        )
    name = "prompt" if "prompt" in row else "messages"
    return read_prompt(row[name], name, line)
