"""Runs to test with, without training anything."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
from django.db.models.functions import Now

from annotation.services import create_study
from tests.annotation.studies import person
from trainers.journal import Entry, Writer, read
from webapp.runs.frames import Block, blocks
from webapp.runs.models import Chunk, Run, Status
from webapp.runs.progress import Carrier

numbers = count(1)


def study_of(owner=None):
    return create_study(name=f"Study {next(numbers)}", owner=owner or person())


def held_run(study=None, **values) -> Run:
    """A run that a worker holds, at its first attempt."""
    run = Run.objects.create(
        study=study or study_of(), method="direct/dpo", config={}, status=Status.RUNNING,
        worker="worker", attempt=1, heartbeat_at=Now(), started_at=Now(), **values,
    )  # fmt: skip
    run.home.mkdir(parents=True)
    run.refresh_from_db()
    return run


def write_rows(writer: Writer, seq_from: int, seq_to: int, names=("loss", "accuracy"), step=None) -> None:
    """Rows whose numbers say where they belong: column k of row n holds n + k / 10."""
    seq = np.arange(seq_from, seq_to + 1, dtype=float)
    columns = [seq + index / 10 for index in range(len(names))]
    writer.chunk(seq_from, names, seq if step is None else step, 1000 + seq, columns)


def journal_of(run: Run) -> Path:
    return run.home / "journal.bin"


def entries_of(run: Run, offset: int = 0) -> list[Entry]:
    return read(journal_of(run), offset)[0]


def kept(run: Run) -> list[Block]:
    """The blocks in the database, in order."""
    frames = Chunk.objects.filter(run=run).order_by("epoch", "seq_to").values_list("frame", flat=True)
    return [block for frame in frames for block in blocks(bytes(frame))]


def rows_of(found: list[Block]) -> list[tuple[int, float]]:
    """(number, first value) of every row, in the order they came."""
    return [
        (block.seq_from + at, float(value)) for block in found for at, value in enumerate(block.values[2])
    ]


class Source:
    """A run under way whose rows come when the test says so."""

    def __init__(self, study) -> None:
        self.run = held_run(study)
        self.writer = Writer(journal_of(self.run))
        self.carrier = Carrier(self.run, 1)
        self.last = self.offset = 0

    def log(self, rows: int, names=("loss", "accuracy")) -> int:
        """Logs and carries that many rows; the number of the last."""
        write_rows(self.writer, self.last + 1, self.last + rows, names)
        self.last += rows
        return self.carry()

    def say(self, entry: dict) -> None:
        self.writer.json(entry)
        self.carry()

    def carry(self) -> int:
        entries = entries_of(self.run, self.offset)
        self.offset = journal_of(self.run).stat().st_size
        self.carrier.carry(entries)
        return self.last

    def rows(self) -> list[tuple[int, float]]:
        return [(n, float(n)) for n in range(1, self.last + 1)]
