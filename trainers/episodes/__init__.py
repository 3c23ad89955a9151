"""Episodes of robots on disk: every step as a fixed row of numbers, and what was said about them.

An episode is a folder of its own, and grows at the end only:

    episode.json    what it is: the world, task, seed and dials, what a step holds, which policy acted, who it was
    steps.bin       one row of `dtype` a step; a row half written when the power went is no row
    commands.jsonl  the commands in the order they were first obeyed; a step names one by its number
    pictures.bin    only of a world that cannot be drawn from its state: JPEGs, one behind the other
    pictures.index  where in it the picture of which step lies
    segments.jsonl  what people and programs say about stretches of it; a changed mind is a new version
    end.json        how it ended, once it did: from then on nothing but segments is added

One program at a time writes an episode (an flock, which ends with its holder). Anybody may read it meanwhile: what is
half written is not there yet. Kept apart from whatever renders it: frames are drawn again from `state`.
"""

from trainers.episodes.episode import Episode
from trainers.episodes.folder import Episodes
from trainers.episodes.words import (
    CLIP,
    NAME,
    NOBODY,
    PERSON,
    POLICY,
    SCRIPT,
    UNSAID,
    WHO,
    About,
    Clip,
    NoEpisode,
    Segment,
)
from trainers.episodes.writer import Writer

__all__ = [
    "CLIP", "NAME", "NOBODY", "PERSON", "POLICY", "SCRIPT", "UNSAID", "WHO", "About", "Clip", "Episode", "Episodes",
    "NoEpisode", "Segment", "Writer",
]  # fmt: skip
