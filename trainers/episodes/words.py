"""What is known of an episode beside its steps: what it is, its clips, what is said about stretches of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NAME = re.compile(r"[0-9a-f]{32}")
CLIP = re.compile(r"clip:([0-9a-f]{32}):([0-9]{1,9})-([0-9]{1,9})")
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

    def __len__(self) -> int:
        return self.stop - self.start

    def __contains__(self, other: object) -> bool:
        """Whether another clip is a stretch of this one."""
        return (
            isinstance(other, Clip)
            and other.episode == self.episode
            and self.start <= other.start
            and other.stop <= self.stop
        )

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
    def asked(self) -> str:
        """What the robot was asked to do, in words."""
        return str(self.scene.get("words") or self.task or self.world)

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
