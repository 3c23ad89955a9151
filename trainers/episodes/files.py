"""The files of an episode: rows and lines that are there in whole or not at all, whoever was killed meanwhile."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LASTS = ("episode.json", "steps.bin", "commands.jsonl", "pictures.bin", "pictures.index")
"""The files of an episode that never change once it has ended."""
PICTURE = np.dtype([("step", "<u4"), ("length", "<u4"), ("start", "<u8")])


def rows(path: Path, dtype: np.dtype[Any]) -> int:
    """How many whole rows a file has."""
    return path.stat().st_size // dtype.itemsize if path.exists() else 0


def pictures(place: Path) -> NDArray[Any]:
    """Where the pictures lie, those alone that are there in whole."""
    path = place / "pictures.index"
    count = rows(path, PICTURE)
    if not count:
        return np.zeros(0, PICTURE)
    found: NDArray[Any] = np.fromfile(path, PICTURE, count)
    whole: NDArray[Any] = found[found["start"] + found["length"] <= (place / "pictures.bin").stat().st_size]
    return whole


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else who asks for this file has it meanwhile."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def append(path: Path, line: str) -> None:
    """Adds a line behind the last whole one; half a line, left by a machine that stopped, goes."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def lines(path: Path) -> list[str]:
    """The whole lines of a file: one that broke off is no line."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return whole.decode("utf-8").split("\n") if whole else []


def to_disk(path: Path) -> None:
    """Whatever was written to a file so far outlives the machine's power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, text: str) -> None:
    """The whole file or none of it, also where the machine stops in between."""
    coming = path.with_suffix(".coming")
    with coming.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    coming.replace(path)


def digest_of_all(files: Mapping[str, str]) -> str:
    """The SHA-256 of files by their names and digests, as `sha256sum` prints them."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def digests(place: Path) -> dict[str, str]:
    """The SHA-256 of each file of an episode that lasts."""
    return {name: digest_of(place / name) for name in LASTS if (place / name).exists()}
