"""Snapshots, and studies as they stand, as files for other tools. Memory does not grow with the number of records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from django.db import connections

from annotation.errors import Invalid
from annotation.exporters import dataset as hub
from annotation.exporters import preferences, robots, table
from annotation.exporters.asked import PERSONAL, TIES, Asked, read
from annotation.exporters.chosen import Counts, Source, check, choose
from annotation.history import stories
from annotation.models import Snapshot
from annotation.snapshots import lines_of
from trainers import records

LINES_AT_ONCE = 500


@dataclass(frozen=True)
class Format:
    """A file format: what it is called, how it is written."""

    label: str
    write: Callable[[Source, Asked], Iterator[bytes]]
    ending: str = "jsonl"
    media: str = "application/jsonl"


def kibitz(source: Source, asked: Asked | None = None) -> Iterator[bytes]:
    """Kibitz JSONL: of a whole snapshot, the frozen file itself."""
    asked = asked or Asked()
    if isinstance(source, Snapshot) and asked.everything:
        return _blocks(lines_of(source))
    return _blocks(records.dumps(one).encode() + b"\n" for _, one in choose(source, asked, Counts()))


def trl(source: Source, asked: Asked | None = None) -> Iterator[bytes]:
    """TRL's standard preferences, as three texts."""
    return _preferences(source, asked or Asked(), preferences.plain)


def trl_chat(source: Source, asked: Asked | None = None) -> Iterator[bytes]:
    """TRL's conversational preferences, as lists of messages."""
    return _preferences(source, asked or Asked(), preferences.chat)


def _preferences(source: Source, asked: Asked, spell: Callable[..., preferences.Row]) -> Iterator[bytes]:
    chosen = choose(source, asked, Counts())
    rows = (
        spell(pair, weight, asked.ties)
        for _, one in chosen
        for pair, weight in preferences.preferences(one, asked.ties)
    )
    return _blocks(records.canonical(row).encode() + b"\n" for row in rows)


def sft(source: Source, asked: Asked | None = None) -> Iterator[bytes]:
    """TRL's prompts with completions: what people wrote or rewrote."""
    rows = (preferences.completion(one) for _, one in choose(source, asked or Asked(), Counts()))
    return _blocks(records.canonical(row).encode() + b"\n" for row in rows if row)


def csv(source: Source, asked: Asked | None = None) -> Iterator[bytes]:
    """A record a line, for spreadsheets."""
    return _blocks(table.lines(choose(source, asked or Asked(), Counts())))


def dataset(source: Source, asked: Asked | None = None) -> Iterator[bytes]:
    """A Hugging Face dataset directory, zipped."""
    return hub.dataset(source, asked or Asked(format="dataset"))


def history(source: Source, asked: Asked | None = None) -> Iterator[bytes]:
    """An item a line, with all that happened to it, the oldest first."""
    if isinstance(source, Snapshot):
        raise Invalid("A snapshot is one moment and has no history. Export the study's.", field="format")
    if not (asked or Asked()).everything:
        raise Invalid("A history is exported whole: leave the filters and the split out.", field="format")
    return _blocks(records.canonical(one).encode() + b"\n" for one in stories(source))


FORMATS: dict[str, Format] = {
    "kibitz": Format("Kibitz JSONL: everything, to keep or to import again", kibitz),
    "trl": Format("TRL, standard: prompt, chosen and rejected as texts", trl),
    "trl_chat": Format("TRL, conversational: prompt, chosen and rejected as messages", trl_chat),
    "sft": Format("TRL, prompt and completion as messages: what people wrote or rewrote", sft),
    "dataset": Format("Hugging Face dataset: Parquet and a card, zipped", dataset, "zip", "application/zip"),
    "episodes": Format(
        "Records about robots with their episodes, zipped", robots.episodes, "zip", "application/zip"
    ),
    "csv": Format("CSV, for spreadsheets", csv, "csv", "text/csv; charset=utf-8"),
    "history": Format("History: an item a line, with all that happened to it", history),
}


def format_of(name: str) -> Format:
    if name not in FORMATS:
        raise Invalid(f"No format called {name!r}. Known formats: {', '.join(FORMATS)}.", field="format")
    return FORMATS[name]


def export(source: Source, asked: Asked) -> Iterator[bytes]:
    """The file, block by block. What cannot be exported is refused here, before the first block."""
    format = format_of(asked.format)
    check(source, asked)
    return format.write(source, asked)


def _blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    while block := b"".join(islice(lines, LINES_AT_ONCE)):
        yield block


def stream(source: Source, asked: Asked) -> AsyncIterator[bytes]:
    """An export for an HTTP response. Asynchronous: an ordinary iterator the ASGI server would read to its end."""
    return _one_by_one(export(source, asked))


async def _one_by_one(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """All in one thread of its own: a database connection belongs to a thread. Closed also when a reader leaves."""
    loop, worker = asyncio.get_running_loop(), ThreadPoolExecutor(1, "export")

    def finish() -> None:
        blocks.close() if hasattr(blocks, "close") else None
        connections.close_all()

    try:
        while block := await loop.run_in_executor(worker, next, blocks, b""):
            yield block
    finally:
        worker.submit(finish)
        worker.shutdown(wait=False)


def filename(source: Source, asked: Asked) -> str:
    name = source.digest[:12] if isinstance(source, Snapshot) else f"study-{source.pk}"
    part = f".{asked.split}" if asked.split else ""
    return f"{name}{part}.{asked.format}.{format_of(asked.format).ending}"


__all__ = [
    "FORMATS", "PERSONAL", "TIES", "Asked", "csv", "dataset", "export", "filename", "format_of", "history", "kibitz",
    "read", "sft", "stream", "trl", "trl_chat",
]  # fmt: skip
