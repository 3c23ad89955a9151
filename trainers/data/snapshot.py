"""Reads the records of a snapshot: a folder with `records.jsonl`, which may be larger than memory.

One pass checks every line and notes where it begins; a record is then read from the file when it is asked for. Each
run makes these notes anew: they cost what checking the lines costs, and nothing is ever written beside a snapshot.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers import records
from trainers.data.lazy import KEPT, Lazy
from trainers.records import Prompt, Record, RecordError, canonical, decoded, prompt_json

Marks = NDArray[np.uint64]
"""[N] the first 64 bits of each prompt's hash: enough to split by, and to tell prompts apart."""


class Records(Lazy[Record]):
    """Records that are read when asked for, whose prompts can be told apart without reading them."""

    def __init__(self, make: Callable[[int], Record], marks: Marks, keep: int = 0) -> None:
        super().__init__(len(marks), make, keep)
        self.marks = marks

    def at(self, rows: Sequence[int] | NDArray[np.int64]) -> Records:
        chosen = np.asarray(rows, dtype=np.int64)
        return Records(lambda row: self[int(chosen[row])], self.marks[chosen])


def read_records(folder: Path, kinds: Iterable[str]) -> Records:
    """The records of the given kinds, in the file's order; an error where there is none, or a line is none."""
    path, wanted = folder if folder.is_file() else folder / "records.jsonl", tuple(kinds)
    starts, sizes, numbers, marks = array("q"), array("q"), array("q"), array("Q")
    held, end = set(), 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            start, end = end, end + len(line)
            if not line.strip():
                continue
            try:
                record = records.parse(decoded(line, number), number)
            except RecordError as problem:
                raise problem.of(path) from None
            held.add(record.kind)
            if record.kind in wanted:
                for notes, value in zip((starts, sizes, numbers), (start, len(line), number), strict=True):
                    notes.append(value)
                marks.append(mark(record.prompt))
    if not starts:
        found = ", ".join(sorted(held)) or "nothing"
        raise ValueError(
            f"{path} holds {found}. Expected records of kind {' or '.join(wanted)}: label some first."
        )
    opened = open(path, "rb", buffering=0)  # noqa: SIM115 (closed with the last of its records)

    def read(row: int) -> Record:
        # pread has no position, which two threads or a forked process could move for each other.
        line = os.pread(opened.fileno(), sizes[row], starts[row])
        return records.parse(decoded(line, numbers[row]), numbers[row])

    return Records(read, np.frombuffer(marks, dtype=np.uint64), KEPT)


def prompts(found: Sequence[Record]) -> Lazy[Prompt]:
    """Every prompt once, in the order of first appearance."""
    first = np.sort(np.unique(marks_of(found), return_index=True)[1])
    return Lazy(len(first), lambda row: found[int(first[row])].prompt, KEPT)


def marks_of(found: Sequence[Record]) -> Marks:
    """The marks of any records, read or made."""
    if isinstance(found, Records):
        return found.marks
    return np.array([mark(record.prompt) for record in found], dtype=np.uint64)


def mark(prompt: Prompt) -> int:
    """The first 64 bits of a prompt's hash: the same on every machine and in every round."""
    return int.from_bytes(hashlib.sha256(canonical(prompt_json(prompt)).encode()).digest()[:8], "big")
