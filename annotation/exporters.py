"""Snapshots as files for other tools, streamed: memory does not grow with the number of records."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice

from annotation.models import Snapshot
from annotation.snapshots import lines_of
from trainers import records

LINES_AT_ONCE = 500


def kibitz(snapshot: Snapshot) -> Iterator[bytes]:
    """Kibitz JSONL: the frozen file itself."""
    return _blocks(lines_of(snapshot))


def trl(snapshot: Snapshot) -> Iterator[bytes]:
    """TRL's preference JSONL. Ties, both-bad and ratings are left out, since it has no words for them."""
    lines = enumerate(lines_of(snapshot), 1)
    rows = (
        records.to_trl(one) for number, line in lines for one in _each(records.parse(line.decode(), number))
    )
    return _blocks(records.canonical(row).encode() + b"\n" for row in rows if row is not None)


def _each(record: records.Record) -> list[records.Record]:
    """The pairs of a ranking; any other record by itself."""
    return list(record.pairs()) if isinstance(record, records.Ranking) else [record]


FORMATS: dict[str, Callable[[Snapshot], Iterator[bytes]]] = {"kibitz": kibitz, "trl": trl}


def _blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    while block := b"".join(islice(lines, LINES_AT_ONCE)):
        yield block


def stream(snapshot: Snapshot, format: str) -> AsyncIterator[bytes]:
    """A snapshot for an HTTP response. Asynchronous: an ordinary iterator the ASGI server would read to its end."""
    return _one_by_one(FORMATS[format](snapshot))


async def _one_by_one(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(next, blocks, b""):
        yield block


def filename(snapshot: Snapshot, format: str) -> str:
    return f"{snapshot.digest[:12]}.{format}.jsonl"
