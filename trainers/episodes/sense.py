"""Whether an episode from elsewhere is one: its files are trusted no further than they were checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainers.episodes.episode import Episode
from trainers.episodes.files import PICTURE, pictures
from trainers.episodes.words import UNSAID, WHO

MOST_NUMBERS = 1_000_000
"""In a step."""


def sensible(episode: Episode) -> None:
    """Raises ValueError where something in an ended episode cannot be."""
    about, ended = episode.about, episode.ended
    for name in ("world", "task", "by"):
        if not isinstance(getattr(about, name), str):
            raise ValueError(f"its {name} is {getattr(about, name)!r}; expected text")
    for name in ("observation", "action", "state"):
        size = getattr(about, name)
        if type(size) is not int or not 0 <= size <= MOST_NUMBERS:
            raise ValueError(f"a step has {size!r} numbers as {name}; expected 0 to {MOST_NUMBERS:,}")
    if type(about.seed) is not int:
        raise ValueError(f"its seed is {about.seed!r}; expected a whole number")
    if not isinstance(about.seconds, int | float) or not (math.isfinite(about.seconds) and about.seconds > 0):
        raise ValueError(f"a step takes {about.seconds!r} seconds; expected a number above 0")
    for name in ("dials", "scene", "policy", "source"):
        if not isinstance(getattr(about, name), dict):
            raise ValueError(f"its {name} is {getattr(about, name)!r}; expected an object")
    if ended is None:
        raise ValueError("it has not ended")
    episode.verify()
    _steps(episode, ended)
    _pictures(episode)
    for one in episode.history():
        if not one.withdrawn and not 0 <= one.start < one.stop <= len(episode):
            raise ValueError(f"the segment {one.name!r} is about the steps {one.start} to {one.stop}")


def _steps(episode: Episode, ended: Any) -> None:
    size = (episode.place / "steps.bin").stat().st_size
    if size != len(episode) * episode.about.dtype.itemsize or ended.get("steps") != len(episode):
        raise ValueError(
            f"it ended with {ended.get('steps')!r} steps; found {size:,} bytes of steps of "
            f"{episode.about.dtype.itemsize:,} bytes"
        )
    rows, commands = episode.steps, episode.commands
    if not all(isinstance(one, str) for one in commands):
        raise ValueError("a command is no text")
    if not len(rows):
        raise ValueError("it has no steps")
    if rows["command"].min() < UNSAID or rows["command"].max() >= len(commands):
        raise ValueError(f"a step names a command that is not among the {len(commands)} it has")
    if max(rows["commander"].max(), rows["actor"].max()) >= len(WHO):
        raise ValueError("a step says that somebody unknown acted")


def _pictures(episode: Episode) -> None:
    path = episode.place / "pictures.index"
    if path.exists() and len(pictures(episode.place)) * PICTURE.itemsize != path.stat().st_size:
        raise ValueError("its pictures are not all there")
    kept = pictures(episode.place)
    if len(kept) and np.any(kept["step"] > len(episode)):
        raise ValueError("a picture is of a step that it does not have")
