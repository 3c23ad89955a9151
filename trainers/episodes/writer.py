"""An episode being lived: rows that only grow at the end, and may be gone back on until it has ended."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.episodes.episode import Episode
from trainers.episodes.files import LASTS, PICTURE, append, digests, pictures, rows, to_disk, write_whole
from trainers.episodes.words import NOBODY, POLICY, UNSAID, About


class Writer:
    """One episode being lived. Rows reach the disk as they come; after `end` there are no more.

    Raises ValueError where it has ended, where somebody writes it already, or where it was begun as another one.
    """

    def __init__(self, place: Path, about: About) -> None:
        self.place, self.name, self.dtype = place, place.name, about.dtype
        place.mkdir(parents=True, exist_ok=True)
        self._steps = (place / "steps.bin").open("ab")
        try:
            self._hold()
            if not (place / "episode.json").exists():
                write_whole(place / "episode.json", json.dumps(asdict(about), ensure_ascii=False, indent=1))
            _same(Episode(place).about, about, self.name)
        except BaseException:
            self._steps.close()
            raise
        self.length = rows(place / "steps.bin", self.dtype)
        self._back_to(self.length)
        self._commands = Episode(place).commands

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def step(
        self,
        observation: NDArray[Any],
        action: NDArray[Any],
        state: NDArray[Any] | Sequence[float] = (),
        reward: float = 0.0,
        score: float = 0.0,
        command: str = "",
        commander: int = NOBODY,
        actor: int = POLICY,
    ) -> int:
        """Adds a step and returns its number. A command that is new to the episode is written down first."""
        row = np.zeros((), self.dtype)
        for name, value in {"observation": observation, "action": action, "state": state}.items():
            if np.shape(value) != row[name].shape:
                raise ValueError(
                    f"Found {list(np.shape(value))} numbers as {name}; a step of this episode has "
                    f"{list(row[name].shape)}."
                )
            row[name] = value
        row["reward"], row["score"] = reward, score
        row["command"], row["commander"], row["actor"] = self.name_command(command), commander, actor
        self._steps.write(row.tobytes())
        self._steps.flush()
        self.length += 1
        return self.length - 1

    def picture(self, jpeg: bytes) -> None:
        """Keeps a picture of the moment before the next step; a step without one is shown as the last that has one."""
        with (self.place / "pictures.bin").open("ab") as file:
            start = file.tell()
            file.write(jpeg)
        row = np.array((self.length, len(jpeg), start), PICTURE)
        with (self.place / "pictures.index").open("ab") as file:
            file.write(row.tobytes())

    def cut(self, length: int) -> None:
        """Goes back to the moment after `length` steps: what came later never was, nor what was said about it."""
        if not 0 <= length <= self.length:
            raise ValueError(f"Cannot go back to {length} steps: the episode {self.name} has {self.length}.")
        self.length = length
        self._back_to(length)
        episode = Episode(self.place)
        for one in episode.segments:
            if one.start >= length:
                episode.say(replace(one, withdrawn=True))
            elif one.stop > length:
                episode.say(replace(one, stop=length))

    def end(self, why: str, score: float = 0.0, success: bool | None = None) -> Episode:
        """Ends it: nothing that was lived changes from here on. `score` and `success` are the world's own view.

        A score of NaN, where nobody can say, is kept as 0: JSON has no other number for it.
        """
        self._steps.flush()
        for name in LASTS:  # what is sealed is on the disk before the seal is
            if (self.place / name).exists():
                to_disk(self.place / name)
        files = digests(self.place)
        ended = {
            "why": why,
            "score": score if math.isfinite(score) else 0.0,
            "success": success,
            "steps": self.length,
            "sha256": files["steps.bin"],
            "files": files,
        }
        write_whole(self.place / "end.json", json.dumps(ended))
        self.close()
        return Episode(self.place)

    def close(self) -> None:
        """Leaves it as it is: unended, to be gone on with later."""
        self._steps.close()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._steps, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"Somebody writes the episode {self.name} just now. Begin another, or wait until they are done."
            ) from None
        if (self.place / "end.json").exists():
            raise ValueError(f"The episode {self.name} has ended. Begin another.")

    def _back_to(self, length: int) -> None:
        """Drops what is behind so many steps: rows, halves of a row, pictures of later moments."""
        self._steps.truncate(length * self.dtype.itemsize)
        self._steps.seek(0, os.SEEK_END)
        kept = pictures(self.place)
        kept = kept[kept["step"] <= length]
        sizes = {
            "pictures.index": len(kept) * PICTURE.itemsize,
            "pictures.bin": int((kept["start"] + kept["length"]).max(initial=0)),
        }
        for name, size in sizes.items():
            if (self.place / name).exists():
                os.truncate(self.place / name, size)

    def name_command(self, command: str) -> int:
        """The number of a command, which the episode has from now on; UNSAID for none."""
        if not command:
            return UNSAID
        if command not in self._commands:
            append(self.place / "commands.jsonl", json.dumps(command, ensure_ascii=False))
            self._commands.append(command)
        return self._commands.index(command)


def _same(there: About, given: About, name: str) -> None:
    """An episode is gone on with as what it was begun as."""
    for what in ("world", "task", "seed", "dials", "seconds", "observation", "action", "state"):
        had, has = getattr(there, what), getattr(given, what)
        if had != has:
            raise ValueError(
                f"The episode {name} was begun with the {what} {had!r}; found {has!r}. Begin another, or go on with it."
            )
