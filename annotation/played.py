"""An episode as a page shows it: as JSON, as rows of numbers, as pictures."""

from __future__ import annotations

import io
from dataclasses import asdict
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.models import Recording
from trainers.envs.registry import WORLDS, world
from trainers.envs.worlds import WorldError
from trainers.episodes import Episode

HIDDEN = "hidden"


def about(recording: Recording, episode: Episode) -> dict[str, Any]:
    """What an episode is and what is said about it. Which policy acted is said only where the study names models."""
    given, ended = episode.about, episode.ended or {}
    entry = WORLDS.get(given.world)
    hidden = recording.study.names_hidden
    return {
        "episode": episode.name,
        "world": given.world,
        "task": given.task,
        "seed": given.seed,
        "seconds": given.seconds,
        "steps": len(episode),
        "columns": given.state + 3,
        "scene": given.scene,
        "commands": episode.commands,
        "segments": [asdict(one) for one in episode.segments],
        "policy": HIDDEN if hidden and recording.policy else recording.policy,
        "score": ended.get("score"),
        "success": recording.success if recording.success is not None else ended.get("success"),
        "ended": bool(ended),
        "why": ended.get("why", ""),
        "drawn": bool(entry and entry.drawn),
    }


def rows(episode: Episode, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
    """[T, S + 3] of the steps from `start` up to `stop`: state, score, number of the command, who commanded."""
    lived = episode.steps[start:stop]
    found = np.empty((len(lived), episode.about.state + 3), "<f4")
    found[:, :-3] = lived["state"]
    found[:, -3], found[:, -2], found[:, -1] = lived["score"], lived["command"], lived["commander"]
    return found


def picture_of(episode: Episode, step: int, size: int) -> bytes | None:
    """A JPEG of the moment before a step: the one that was kept, or else drawn anew where the world is a light one.

    None where there is neither, or no such step.
    """
    if not 0 <= step <= len(episode):
        return None
    kept = episode.picture(step)
    if kept is not None:
        return kept
    entry = WORLDS.get(episode.about.world)
    if entry is None or entry.needs or find_spec("PIL") is None:
        return None
    return _drawn_anew(str(episode.place), step, size, len(episode) if episode.ended is None else -1)


@lru_cache(maxsize=256)
def _drawn_anew(place: str, step: int, size: int, length: int) -> bytes | None:
    """The world is played again from its seed up to the step; `length` tells apart what is still being lived."""
    from PIL import Image  # an extra: only what it draws needs it

    episode = Episode(Path(place))
    about, lived = episode.about, episode.steps
    played, known = world(about.world), max(0, min(step, len(lived) - 1))
    try:
        seen = played.reset(about.seed, about.task, about.dials)
        for action in lived["action"][:known]:
            seen = played.step(action).observation
        now, then = (played.state(), "state") if about.state else (seen, "observation")
        if len(lived) and not np.allclose(now, lived[then][known], atol=1e-4):
            return None  # it was not lived from its seed on: what would be drawn is not what was seen
        for action in lived["action"][known:step]:
            played.step(action)
    except (ValueError, WorldError):
        return None  # recorded by another version of the world, with a task, dials or numbers that this one has not
    kept = io.BytesIO()
    Image.fromarray(played.picture(size)).save(kept, "JPEG", quality=85)
    return kept.getvalue()
