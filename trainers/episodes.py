"""Episodes of robots on disk: every step as a fixed row of numbers, and what was said about them.

An episode is a folder of its own, and grows at the end only:

    episode.json    what it is: the world, task, seed and dials, what a step holds, which policy acted, who it was
    steps.bin       one row of `dtype` a step; a row half written when the power went is no row
    commands.jsonl  the commands in the order they were first obeyed; a step names one by its number
    segments.jsonl  what people and programs say about stretches of it; a changed mind is a new version
    end.json        how it ended, once it did: from then on nothing but segments is added

Kept apart from whatever renders it: frames are drawn again from `state`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = re.compile(r"[0-9a-f]{32}")
CLIP = re.compile(r"clip:([0-9a-f]{32}):(\d+)-(\d+)")
NOBODY, POLICY, PERSON, SCRIPT = 0, 1, 2, 3
"""Who chose the command, or the action, of a step."""
WHO = ("nobody", "policy", "person", "script")
UNSAID = -1
"""The number of a command where a step obeys none."""


class NoEpisode(LookupError):
    """There is no such episode here; the message says where it was looked for."""


@dataclass(frozen=True)
class Clip:
    """A stretch of an episode: the steps from `start` up to, and without, `stop`."""

    episode: str
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.episode) or not 0 <= self.start < self.stop:
            raise ValueError(
                f"Found the steps {self.start} to {self.stop} of '{self.episode}'. Expected an episode's name of 32 "
                "hexadecimal digits, and at least one step."
            )

    def __str__(self) -> str:
        return f"clip:{self.episode}:{self.start}-{self.stop}"

    @classmethod
    def read(cls, text: str) -> Clip:
        """The clip that a text such as "clip:<episode>:<start>-<stop>" names, or a ValueError."""
        found = CLIP.fullmatch(text)
        if not found:
            raise ValueError(f"Found {text[:80]!r}. Expected clip:<episode>:<start>-<stop>.")
        return cls(found[1], int(found[2]), int(found[3]))


@dataclass(frozen=True)
class About:
    """What an episode is, written before its first step."""

    world: str
    task: str
    seed: int
    observation: int
    """How many numbers are seen in a step."""
    action: int
    """How many numbers an action has."""
    state: int
    """How many numbers of a step are drawn; 0 where it has pictures only."""
    seconds: float
    """How long a step takes."""
    dials: Mapping[str, Any] = field(default_factory=dict)
    scene: Mapping[str, Any] = field(default_factory=dict)
    """What is drawn and never changes: names, colours, sizes."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Which policy acted: {"artifact", "digest", "name", "run"}, as far as it is known."""
    by: str = ""
    """Who drove or watched it; "script" for a scripted annotator."""
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """A step's row: what was seen before acting, the action, what it earned, and who chose what."""
        return np.dtype(
            [
                ("observation", "<f4", (self.observation,)),
                ("action", "<f4", (self.action,)),
                ("state", "<f4", (self.state,)),
                ("reward", "<f4"),
                ("score", "<f4"),
                ("command", "<i4"),
                ("commander", "u1"),
                ("actor", "u1"),
            ]
        )


@dataclass(frozen=True)
class Segment:
    """What somebody says about the steps from `start` up to `stop`; `version` counts changes of mind."""

    name: str
    """Its own among the episode's segments; the same one again is a new version."""
    start: int
    stop: int
    kind: str
    """instruction, correction, action, rejected, motion, success, failure."""
    label: str = ""
    """The command, as it is trained on."""
    by: str = ""
    at: float = 0.0
    """When it was said; seconds since 1970."""
    version: int = 1
    withdrawn: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)


class Episodes:
    """The episodes in a folder, by their names."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def place(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise NoEpisode(f"'{name[:80]}' is not an episode's name: expected 32 hexadecimal digits.")
        return self.root / name[:2] / name

    def begin(self, about: About, name: str = "") -> Writer:
        """A new episode, or an unfinished one of that name to go on with."""
        return Writer(self.place(name or secrets.token_hex(16)), about)

    def open(self, name: str) -> Episode:
        place = self.place(name)
        if not (place / "episode.json").is_file():
            raise NoEpisode(
                f"There is no episode {name} in {self.root}. Is the store the one it was written to?"
            )
        return Episode(place)

    def __contains__(self, name: object) -> bool:
        return (
            isinstance(name, str)
            and bool(NAME.fullmatch(name))
            and (self.place(name) / "episode.json").is_file()
        )

    def __iter__(self) -> Iterator[Episode]:
        for path in sorted(self.root.glob("??/*/episode.json")):
            yield Episode(path.parent)


class Writer:
    """One episode being lived. Rows reach the disk as they come; after `end` there are no more."""

    def __init__(self, place: Path, about: About) -> None:
        self.place, self.name, self.dtype = place, place.name, about.dtype
        if (place / "end.json").exists():
            raise ValueError(f"The episode {place.name} has ended. Begin another.")
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "episode.json").exists():
            _whole(place / "episode.json", json.dumps(asdict(about), ensure_ascii=False, indent=1))
        self._steps = (place / "steps.bin").open("ab")
        whole = self._steps.tell() // self.dtype.itemsize * self.dtype.itemsize
        self._steps.truncate(whole)
        self.length = whole // self.dtype.itemsize
        self._commands = Episode(place).commands

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
        row["observation"], row["action"], row["state"] = observation, action, state
        row["reward"], row["score"] = reward, score
        row["command"], row["commander"], row["actor"] = self._number(command), commander, actor
        self._steps.write(row.tobytes())
        self._steps.flush()
        self.length += 1
        return self.length - 1

    def cut(self, length: int) -> None:
        """Goes back to the moment after `length` steps: what came later never was."""
        self._steps.truncate(length * self.dtype.itemsize)
        self._steps.seek(0, os.SEEK_END)
        self.length = min(length, self.length)

    def end(self, why: str, score: float = 0.0, success: bool | None = None) -> Episode:
        self._steps.flush()
        os.fsync(self._steps.fileno())
        self._steps.close()
        rows = (self.place / "steps.bin").read_bytes()
        ended = {
            "why": why,
            "score": score,
            "success": success,
            "steps": self.length,
            "sha256": hashlib.sha256(rows).hexdigest(),
        }
        _whole(self.place / "end.json", json.dumps(ended))
        return Episode(self.place)

    def _number(self, command: str) -> int:
        if not command:
            return UNSAID
        if command not in self._commands:
            _append(self.place / "commands.jsonl", json.dumps(command, ensure_ascii=False))
            self._commands.append(command)
        return self._commands.index(command)


class Episode:
    """An episode as it was lived; whatever has been written of it so far."""

    def __init__(self, place: Path) -> None:
        self.place, self.name = place, place.name
        self.about = About(**json.loads((place / "episode.json").read_text("utf-8")))

    @property
    def steps(self) -> NDArray[Any]:
        """[T] rows of `about.dtype`: `steps["action"]` is [T, A], and so on. Read from the disk as it is touched."""
        path, size = self.place / "steps.bin", self.about.dtype.itemsize
        count = path.stat().st_size // size if path.exists() else 0
        if not count:
            return np.zeros(0, self.about.dtype)
        return np.memmap(path, self.about.dtype, "r", shape=(count,))

    @property
    def commands(self) -> list[str]:
        return [json.loads(line) for line in _lines(self.place / "commands.jsonl")]

    @property
    def ended(self) -> Mapping[str, Any] | None:
        """{"why", "score", "success", "steps", "sha256"}; None while it is being lived."""
        path = self.place / "end.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def said(self) -> list[str]:
        """The command of each step; empty where it obeys none."""
        commands = self.commands
        return ["" if one == UNSAID else commands[one] for one in self.steps["command"]]

    def history(self) -> list[Segment]:
        """All that was ever said about it, oldest first."""
        return [Segment(**json.loads(line)) for line in _lines(self.place / "segments.jsonl")]

    @property
    def segments(self) -> list[Segment]:
        """What is said about it now: the newest version of each segment, by their beginnings."""
        newest = {one.name: one for one in self.history()}
        return sorted(
            (one for one in newest.values() if not one.withdrawn), key=lambda one: (one.start, one.name)
        )

    def say(self, segment: Segment) -> Segment:
        """Adds a segment, or a new version of one; returns it with its version.

        Raises ValueError for steps that the episode does not have.
        """
        if not 0 <= segment.start < segment.stop <= len(self.steps):
            raise ValueError(
                f"Found the steps {segment.start} to {segment.stop}; the episode {self.name} has {len(self.steps)}."
            )
        before = max((one.version for one in self.history() if one.name == segment.name), default=0)
        row = {**asdict(segment), "version": before + 1}
        _append(self.place / "segments.jsonl", json.dumps(row, ensure_ascii=False))
        return Segment(**row)

    def verify(self) -> None:
        """Raises ValueError where the steps are not those that it ended with."""
        ended = self.ended
        if ended is None:
            return
        found = hashlib.sha256((self.place / "steps.bin").read_bytes()).hexdigest()
        if found != ended["sha256"]:
            raise ValueError(
                f"The steps of episode {self.name} have changed since it ended: SHA-256 {found}, expected "
                f"{ended['sha256']}. Bring the original {self.place / 'steps.bin'} back."
            )


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> list[str]:
    """The whole lines of a file: one that broke off is no line."""
    if not path.exists():
        return []
    return path.read_text("utf-8").split("\n")[:-1]


def _whole(path: Path, text: str) -> None:
    """The whole file or none of it, also where the machine stops in between."""
    coming = path.with_suffix(".coming")
    with coming.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    coming.replace(path)
