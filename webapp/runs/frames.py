"""The block of log rows as it is stored, sent and drawn: one layout from the database to the browser's arrays.

Little endian, a multiple of eight bytes long, so that a browser lays Float64Array over it without a copy:

    u32 length (of the whole block)   u32 run   u32 epoch   u32 rows   u32 seq_from   u32 seq_to
    u16 number of series   u16 zero   u32 zero
    u16 id of each series, padded to a multiple of eight bytes
    float64 step[rows]   float64 time[rows]   float64 column[rows] for each series

Log rows are numbered 1, 2, 3 … by their writer; a block holds the rows seq_from to seq_to, all of the same series.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

HEADER = struct.Struct("<6IHHI")


@dataclass(frozen=True)
class Block:
    """A block unpacked: `values[0]` is step, `values[1]` is time, then a row for each series."""

    run: int
    epoch: int
    seq_from: int
    seq_to: int
    ids: tuple[int, ...]
    values: np.ndarray  # [2 + series, rows]

    def pack(self) -> bytes:
        series, rows = len(self.ids), self.values.shape[1]
        ids = struct.pack(f"<{series}H", *self.ids)
        ids += bytes(-len(ids) % 8)
        length = HEADER.size + len(ids) + 8 * rows * (2 + series)
        head = HEADER.pack(length, self.run, self.epoch, rows, self.seq_from, self.seq_to, series, 0, 0)
        return head + ids + np.ascontiguousarray(self.values, dtype="<f8").tobytes()

    def after(self, seq: int) -> Block:
        """The rows that come after `seq`."""
        known = max(0, seq + 1 - self.seq_from)
        return Block(
            self.run, self.epoch, self.seq_from + known, self.seq_to, self.ids, self.values[:, known:]
        )


def unpack(data: bytes | memoryview, offset: int = 0) -> Block:
    length, run, epoch, rows, seq_from, seq_to, series, _, _ = HEADER.unpack_from(data, offset)
    ids = struct.unpack_from(f"<{series}H", data, offset + HEADER.size)
    start = offset + HEADER.size + (2 * series + 7) // 8 * 8
    values = np.frombuffer(data, "<f8", count=(2 + series) * rows, offset=start).reshape(2 + series, rows)
    if start + values.nbytes != offset + length:
        raise ValueError(
            f"A block of {length} bytes holds {start - offset + values.nbytes}: it was cut or mixed up."
        )
    return Block(run, epoch, seq_from, seq_to, ids, values)


def ids(frame: bytes) -> tuple[int, ...]:
    """The series of a block, without its numbers."""
    return struct.unpack_from(f"<{HEADER.unpack_from(frame)[6]}H", frame, HEADER.size)


def blocks(data: bytes) -> Iterator[Block]:
    """The blocks that a message joins."""
    offset = 0
    while offset < len(data):
        yield unpack(data, offset)
        offset += HEADER.unpack_from(data, offset)[0]


def after(frame: bytes, seq_from: int, seq: int) -> bytes:
    """The frame without the rows a reader already has; unchanged, and not unpacked, when it has none of them."""
    return frame if seq < seq_from else unpack(frame).after(seq).pack()


def join(parts: Sequence[Block]) -> Block:
    """Consecutive blocks of the same series as one."""
    values = np.concatenate([part.values for part in parts], axis=1)
    return Block(parts[0].run, parts[0].epoch, parts[0].seq_from, parts[-1].seq_to, parts[0].ids, values)
