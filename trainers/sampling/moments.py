"""What a live robot leaves on the disk, so that a process that is killed costs a second: its moments, and its story."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any


class Moments:
    """The world's newest moment, in one file: a line that says whose it is, then the world's own bytes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "moment.bin"

    def keep(self, episode: str, step: int, moment: bytes) -> None:
        """The whole moment or the one before it, whenever the process is killed."""
        coming = self.path.with_suffix(".coming")
        coming.write_bytes(json.dumps({"episode": episode, "step": step}).encode() + b"\n" + moment)
        coming.replace(self.path)

    def read(self, episode: str, most: int) -> tuple[int, bytes] | None:
        """The step and the moment, where it is this episode's and the recording reaches as far as it."""
        if not self.path.exists():
            return None
        head, _, moment = self.path.read_bytes().partition(b"\n")
        about = json.loads(head)
        if about["episode"] != episode or about["step"] > most:
            return None
        return int(about["step"]), moment


class Story:
    """What became of each thing that was said: `heard`, `in_force`, `over`, a line each, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._episodes: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        if path.exists():
            whole = path.read_bytes()
            whole = whole[: whole.rfind(b"\n") + 1]  # a line that broke off is no line
            os.truncate(path, len(whole))
            for line in whole.splitlines():
                self._take(json.loads(line))

    def add(self, told: dict[str, Any]) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(told, ensure_ascii=False).encode() + b"\n")
        self._take(told)

    def known(self, episode: str) -> set[str]:
        """The ids of all that was heard in an episode."""
        return set(self._episodes[episode])

    def of(self, episode: str) -> dict[str, dict[str, Any]]:
        """By id, in the order in which they were heard: all that is known of them, and `told`, the lines themselves."""
        return self._episodes[episode]

    def _take(self, told: dict[str, Any]) -> None:
        one = self._episodes[told["episode"]].setdefault(str(told["id"]), {"told": []})
        one["told"].append(told)
        one |= {key: value for key, value in told.items() if key not in ("type", "episode")}
        if told["type"] == "over":
            one["over"] = True
