"""An episode as it was lived, to be read and to be spoken about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.episodes.files import alone, append, digest_of_all, digests, lines, pictures, rows
from trainers.episodes.words import UNSAID, About, Segment


class Episode:
    """An episode as it was lived; whatever has been written of it so far."""

    def __init__(self, place: Path) -> None:
        self.place, self.name = place, place.name
        try:
            self.about = About(**json.loads((place / "episode.json").read_text("utf-8")))
        except (TypeError, ValueError) as problem:
            raise ValueError(f"{place / 'episode.json'} describes no episode: {problem}.") from None

    @property
    def steps(self) -> NDArray[Any]:
        """[T] rows of `about.dtype`: `steps["action"]` is [T, A], and so on.

        Of an ended episode they are read from the disk as they are touched. Of one that grows they are a copy: whoever
        goes back on it would take the pages away under a reader, and that ends a process.
        """
        path, dtype = self.place / "steps.bin", self.about.dtype
        count = rows(path, dtype)
        if not count:
            return np.zeros(0, dtype)
        if self.ended is None:
            return np.fromfile(path, dtype, count)
        return np.memmap(path, dtype, "r", shape=(count,))

    def __len__(self) -> int:
        return rows(self.place / "steps.bin", self.about.dtype)

    def __bool__(self) -> bool:
        """An episode without steps is one too."""
        return True

    def picture(self, step: int) -> bytes | None:
        """The JPEG that was kept of the moment before a step, or of the last moment before it that has one."""
        kept = pictures(self.place)
        kept = kept[kept["step"] <= step]
        if not len(kept):
            return None
        with (self.place / "pictures.bin").open("rb") as file:
            file.seek(int(kept["start"][-1]))
            return file.read(int(kept["length"][-1]))

    @property
    def pictured(self) -> list[int]:
        """The steps before which a picture of that moment was kept; as many as there are steps: of the last moment."""
        return [int(step) for step in pictures(self.place)["step"]]

    @property
    def commands(self) -> list[str]:
        return [json.loads(line) for line in lines(self.place / "commands.jsonl")]

    @property
    def ended(self) -> Mapping[str, Any] | None:
        """{"why", "score", "success", "steps", "sha256"}; None while it is being lived."""
        path = self.place / "end.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def said(self) -> list[str]:
        """The command of each step; empty where it obeys none."""
        said = self.steps["command"]
        commands = self.commands  # after the steps: a command is written down before the step that obeys it
        return ["" if one == UNSAID else commands[one] for one in said]

    def history(self) -> list[Segment]:
        """All that was ever said about it, oldest first. ValueError for a line that says nothing of the kind."""
        path = self.place / "segments.jsonl"
        try:
            return [Segment(**json.loads(line)) for line in lines(path)]
        except (TypeError, ValueError) as problem:
            raise ValueError(f"{path} has a line that is no segment: {problem}.") from None

    @property
    def segments(self) -> list[Segment]:
        """What is said about it now: the newest version of each segment, by their beginnings."""
        newest = {one.name: one for one in self.history()}
        return sorted(
            (one for one in newest.values() if not one.withdrawn), key=lambda one: (one.start, one.name)
        )

    def say(self, segment: Segment) -> Segment:
        """Adds a segment, or a new version of one; returns it with its version.

        Raises ValueError for steps that the episode does not have; a withdrawal may name any.
        """
        if not segment.withdrawn and not 0 <= segment.start < segment.stop <= len(self):
            raise ValueError(
                f"Found the steps {segment.start} to {segment.stop}; the episode {self.name} has {len(self)}."
            )
        with alone(self.place / "segments.jsonl"):
            before = max((one.version for one in self.history() if one.name == segment.name), default=0)
            row = {**asdict(segment), "version": before + 1}
            append(self.place / "segments.jsonl", json.dumps(row, ensure_ascii=False))
        return Segment(**row)

    @property
    def digest(self) -> str:
        """SHA-256 of what was lived: of the names and digests of the files that last."""
        ended = self.ended
        return digest_of_all(ended["files"] if ended else digests(self.place))

    def verify(self) -> None:
        """Raises ValueError where a file is not the one that it ended with."""
        ended = self.ended
        if ended is None:
            return
        found = digests(self.place)
        for name, expected in ended["files"].items():
            if found.get(name) != expected:
                has = f"SHA-256 {found[name]}" if name in found else "no such file"
                raise ValueError(
                    f"The episode {self.name} has changed since it ended: {name} has {has}, expected {expected}. "
                    f"Bring the original {self.place / name} back."
                )
        if added := sorted(set(found) - set(ended["files"])):
            raise ValueError(f"The episode {self.name} had no {added[0]} when it ended. Take it away.")
