"""A run's journal: an append-only file that the child writes and its supervisor reads, at the same time.

An entry is a 12-byte header (tag, payload length, crc32 of the payload) and the payload. Rows of numbers
go in columns ("CHNK"), everything else as one JSON object ("JSON"). Killed at any moment, the file ends in
whole entries and at most one torn one: the reader stops before it, the next writer cuts it off.

Rows are numbered 1, 2, 3, …; a run that resumes from a checkpoint writes some rows again under the same
numbers, and every JSON entry has a natural key. Whoever replays the file drops what it has.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<4sII")
COUNT = struct.Struct("<I")
CHUNK, JSON = b"CHNK", b"JSON"
LARGEST = 256 * 2**20
"""No entry is longer: a longer one is a torn header's noise."""
MOST = 32 * 2**20
"""How much one call of `read` takes in, about."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chunk:
    """Consecutive log rows that have the same names."""

    seq_from: int
    seq_to: int
    names: tuple[str, ...]
    step: Floats
    """[rows]"""
    time: Floats
    """[rows], Unix seconds"""
    columns: Floats
    """[names, rows]"""

    def after(self, seq: int) -> Chunk | None:
        """What of this chunk is newer than row `seq`: itself, its end, or nothing."""
        known = max(0, seq - self.seq_from + 1)
        if known >= len(self.step):
            return None
        if not known:
            return self
        return Chunk(
            self.seq_from + known, self.seq_to, self.names,
            self.step[known:], self.time[known:], self.columns[:, known:],
        )  # fmt: skip


Entry = Chunk | dict[str, Any]


class JournalError(ValueError):
    """A journal that cannot be read on from where the reader stood."""


class Writer:
    """Appends entries. One writer at a time; opening cuts off what a killed writer left unfinished."""

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
        with open(path, "rb") as file:
            whole = sum(HEADER.size + len(body) for _, body in _whole_entries(file))
        if whole < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, whole)

    def chunk(
        self, seq_from: int, names: Sequence[str], step: Sequence[float], time: Sequence[float], columns: Any
    ) -> None:
        """Appends log rows seq_from, seq_from + 1, …; `columns` is [names, rows]."""
        head = _compact({"seq": [seq_from, seq_from + len(step) - 1], "names": list(names)})
        table = np.asarray(columns, dtype="<f8").reshape(len(names), len(step))
        body = [np.asarray(step, dtype="<f8"), np.asarray(time, dtype="<f8"), table]
        self._append(CHUNK, COUNT.pack(len(head)) + head + b"".join(part.tobytes() for part in body))

    def json(self, entry: dict[str, Any]) -> None:
        """Appends one entry, an object with a "type"."""
        self._append(JSON, _compact(entry))

    def sync(self) -> None:
        """Returns when everything appended is on the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, tag: bytes, payload: bytes) -> None:
        # One write, so that no other thread's entry can come between header and payload.
        entry = memoryview(HEADER.pack(tag, len(payload), zlib.crc32(payload)) + payload)
        while entry:
            entry = entry[os.write(self._fd, entry) :]


def read(path: str | Path, offset: int = 0, most: int = MOST) -> tuple[list[Entry], int]:
    """The whole entries from `offset` on, and where the next one will begin.

    Stops before an entry that is not yet, or never will be, whole; and after about `most` bytes: read on
    until the offset stays where it is.
    """
    entries: list[Entry] = []
    at = offset
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if offset > size:
                raise JournalError(
                    f"{path} has {size} bytes, fewer than the {offset} read before: it was cut. "
                    "Read it again from 0; what is known already can be dropped by its numbers and keys."
                )
            file.seek(offset)
            for tag, body in _whole_entries(file):
                entries.append(_chunk(body) if tag == CHUNK else json.loads(body))
                at += HEADER.size + len(body)
                if at - offset >= most:
                    break
    except FileNotFoundError:
        return [], offset
    return entries, at


def _whole_entries(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """(tag, payload) of one entry after another, up to the first that is not all there and sound."""
    while len(header := file.read(HEADER.size)) == HEADER.size:
        tag, length, crc = HEADER.unpack(header)
        if tag not in (CHUNK, JSON) or length > LARGEST:
            return
        body = file.read(length)
        if len(body) < length or zlib.crc32(body) != crc:
            return
        yield tag, body


def _chunk(payload: bytes) -> Chunk:
    (size,) = COUNT.unpack_from(payload)
    head = json.loads(payload[COUNT.size : COUNT.size + size])
    seq_from, seq_to = head["seq"]
    rows, names = seq_to - seq_from + 1, tuple(head["names"])
    table = np.frombuffer(payload, dtype="<f8", offset=COUNT.size + size).reshape(len(names) + 2, rows)
    return Chunk(seq_from, seq_to, names, table[0], table[1], table[2:])


def _compact(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
