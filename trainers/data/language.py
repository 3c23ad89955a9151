"""What each step of an episode was told, and the stretches that were told one thing: what exports call language."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from trainers.episodes import Episode

SPOKEN = ("instruction", "correction", "action")
"""The kinds of segment whose label says what is done in it."""


@dataclass(frozen=True)
class Spoken:
    """The steps from `start` up to `stop`, and what was said of them."""

    start: int
    stop: int
    text: str


def told(episode: Episode) -> list[str]:
    """By step, the command that was obeyed, or what people have said since should be: the newest word counts."""
    found = episode.said()
    for one in sorted(episode.segments, key=lambda one: one.at):
        if one.kind in SPOKEN and one.label:
            found[one.start : one.stop] = [one.label] * (one.stop - one.start)
    return found


def spoken(episode: Episode) -> list[Spoken]:
    """The stretches of one text, in order; those of none are left out."""
    found, at = [], 0
    for text, same in groupby(told(episode)):
        length = len(list(same))
        if text:
            found.append(Spoken(at, at + length, text))
        at += length
    return found
