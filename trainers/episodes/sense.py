"""Whether an episode from elsewhere is one: its files are trusted no further than they were checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainers.episodes.episode import Episode
from trainers.episodes.files import PICTURE, pictures
from trainers.episodes.words import UNSAID, WHO, Segment

MOST_NUMBERS = 1_000_000
"""In a step."""
LARGEST = 1e300


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
    if type(about.seed) is not int or not 0 <= about.seed < 2**63:
        raise ValueError(f"its seed is {about.seed!r}; expected a whole number from 0 to {2**63 - 1}")
    if not _number(about.seconds) or about.seconds <= 0:
        raise ValueError(f"a step takes {about.seconds!r} seconds; expected a number above 0")
    for name in ("dials", "scene", "policy", "source"):
        if not isinstance(getattr(about, name), dict):
            raise ValueError(f"its {name} is {getattr(about, name)!r}; expected an object")
    if ended is None:
        raise ValueError("it has not ended")
    _end(ended)
    episode.verify()
    _steps(episode, ended)
    _pictures(episode)
    for one in episode.history():
        _segment(one, len(episode))


def _number(value: Any) -> bool:
    """A finite one; JSON can also write whole numbers that no float holds."""
    return isinstance(value, int | float) and -LARGEST < value < LARGEST


def _end(ended: Any) -> None:
    found = ended if isinstance(ended, dict) else {}
    score, files = found.get("score"), found.get("files")
    sensibly = (
        isinstance(found.get("why"), str)
        and _number(score)
        and (found.get("success") is None or isinstance(found["success"], bool))
        and isinstance(files, dict)
        and isinstance(found.get("sha256"), str)
        and found["sha256"] == files.get("steps.bin")
    )
    if not sensibly:
        raise ValueError("its end.json does not say why it ended, how well, and what its files were")


def _segment(one: Segment, steps: int) -> None:
    texts = isinstance(one.name, str) and isinstance(one.kind, str)
    texts = texts and isinstance(one.label, str) and isinstance(one.by, str)
    numbers = type(one.start) is int and type(one.stop) is int and type(one.version) is int
    numbers = numbers and _number(one.at)
    if not (texts and numbers and isinstance(one.withdrawn, bool) and isinstance(one.source, dict)):
        raise ValueError(f"its segment {one.name!r} has something that is of no segment's kind")
    if not one.withdrawn and not 0 <= one.start < one.stop <= steps:
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
