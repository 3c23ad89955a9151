"""The end of what a run's process printed."""

from __future__ import annotations

import os

from webapp.runs.models import Run

MOST_BYTES = 64 * 2**10


def tail(run: Run, lines: int = 400) -> str:
    """The last lines of the console; of a long one only its end is read. Empty where nothing was printed."""
    path = run.home / "console.log"
    if not path.is_file():
        return ""
    with path.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - MOST_BYTES))
        text = opened.read().decode("utf-8", "replace")
    if size > MOST_BYTES:
        text = text.partition("\n")[2]  # the first line is cut
    # A progress bar rewrites its line: what it said last is what a terminal would show.
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]
    return "\n".join(shown[-lines:])
