"""What a run says, on its way to the journal: in order, a moment late, and without the trainer ever waiting."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np

from trainers import journal

FLUSH_SECONDS = 0.06
FLUSH_ROWS = 500
ECHO_SECONDS = 2.0

Row = tuple[int, int, float, tuple[str, ...], list[float]]


class Outbox:
    """Carries rows and entries to the journal in order, at most 100 ms late, without the trainer waiting."""

    def __init__(self, writer: journal.Writer, nudge_fd: int | None, orphaned: Callable[[], bool]) -> None:
        self._writer, self._nudge_fd, self._orphaned = writer, nudge_fd, orphaned
        if nudge_fd is not None:
            os.set_blocking(nudge_fd, False)
        self._waiting: list[Row | dict[str, Any]] = []
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closed = False
        self._error: Exception | None = None
        self._echoed_at = 0.0
        self._thread = threading.Thread(target=self._carry, name="journal", daemon=True)
        self._thread.start()

    def put(self, entry: Row | dict[str, Any]) -> None:
        if self._error is not None:
            raise self._error
        with self._changed:
            self._waiting.append(entry)
            if len(self._waiting) in (1, FLUSH_ROWS):
                self._changed.notify()

    def flush(self, sync: bool = False) -> None:
        """Returns when all that was put is in the journal (and, with `sync`, on the disk)."""
        with self._writing:
            with self._changed:
                waiting, self._waiting = self._waiting, []
            for _, group in groupby(waiting, key=_same_chunk):
                rows = []
                for entry in group:
                    if isinstance(entry, dict):
                        self._writer.json(entry)
                    else:
                        rows.append(entry)
                if rows:
                    self._chunk(rows)
            if sync:
                self._writer.sync()
        if waiting and self._nudge_fd is not None:
            with contextlib.suppress(OSError):  # full: a nudge is waiting already; broken: nobody listens
                os.write(self._nudge_fd, b"\n")

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self.flush(sync=True)
        self._writer.close()

    def echo(self, line: str) -> None:
        """A line for the console."""
        print(line, flush=True)

    def _carry(self) -> None:
        try:
            while not self._closed:
                with self._changed:
                    if not self._waiting:
                        self._changed.wait(timeout=1.0)
                    if self._waiting and not self._closed:
                        self._changed.wait_for(self._full, timeout=FLUSH_SECONDS)
                if self._waiting:
                    self.flush()
                if self._orphaned():
                    os._exit(1)
        except Exception as error:  # the trainer raises it at its next word
            self._error = error

    def _full(self) -> bool:
        return self._closed or len(self._waiting) >= FLUSH_ROWS

    def _chunk(self, rows: list[Row]) -> None:
        seqs, steps, times, names, values = zip(*rows, strict=True)
        self._writer.chunk(seqs[0], names[0], steps, times, np.array(values).T)
        if time.monotonic() - self._echoed_at >= ECHO_SECONDS:
            self._echoed_at = time.monotonic()
            shown = "  ".join(
                f"{name} {value:.4g}" for name, value in zip(names[-1], values[-1], strict=True)
            )
            self.echo(f"step {steps[-1]}  {shown}")


class Silence:
    """The outbox of a process that is not the first: what it would say, the first one says."""

    def put(self, entry: Row | dict[str, Any]) -> None: ...

    def flush(self, sync: bool = False) -> None: ...

    def close(self) -> None: ...

    def echo(self, line: str) -> None: ...


def _same_chunk(entry: Row | dict[str, Any]) -> tuple[str, ...] | None:
    return None if isinstance(entry, dict) else entry[3]
