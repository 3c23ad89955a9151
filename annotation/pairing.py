"""Pairs of clips that a researcher has people compare: drawn at random, by a seed, from what a study has recorded."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max, Q

from annotation.errors import Invalid
from annotation.interfaces import clips
from annotation.models import Recording, Study
from annotation.recordings import clip_items, store
from trainers.envs.registry import WORLDS
from trainers.episodes import Clip

MOST_PAIRS = 500
"""At once."""
NEWEST = 1_000
"""Of so many recordings the pairs are drawn, the newest, where nobody chose some."""


@dataclass(frozen=True)
class Paired:
    """What became of a wish for pairs."""

    wanted: int
    drawn: int
    """How many there are of them; fewer than wanted where the recordings give no more."""
    added: int
    """How many of those the study had not."""

    def __str__(self) -> str:
        said = [f"{self.added:,} {'pair' if self.added == 1 else 'pairs'} of clips added."]
        if self.drawn > self.added:
            said.append(f"{self.drawn - self.added:,} of those drawn were there already.")
        if self.drawn < self.wanted:
            said.append(f"These recordings give no more than {self.drawn:,}.")
        return " ".join(said)


def works(study: Study) -> list[dict[str, Any]]:
    """What the robots of a study's recordings did, the newest first: {"world", "task", "title", "count", "ended"}."""
    found = study.recordings.order_by().values("world", "task")
    counted = found.annotate(count=Count("pk"), ended=Count("pk", filter=Q(ended=True)), newest=Max("pk"))
    return [{**one, "title": _title(one["world"], one["task"])} for one in counted.order_by("-newest")]


def _title(world: str, task: str) -> str:
    name = WORLDS[world].title if world in WORLDS else world
    return f"{name}, {task}" if task else name


def chosen(found: Sequence[dict[str, Any]], asked: Mapping[str, str]) -> dict[str, Any] | None:
    """The one of these works that `asked` names by its world and task; else the first, or None where there is none."""
    key = asked.get("world"), asked.get("task", "")
    return next((one for one in found if (one["world"], one["task"]) == key), found[0] if found else None)


def pair_clips(
    *,
    study: Study,
    world: str,
    task: str,
    count: int,
    length: int | None = None,
    seed: int = 0,
    recordings: Sequence[Recording] = (),
) -> Paired:
    """Adds pairs of clips to compare, each of two ended recordings of one world and task that were asked the same.

    `length`: the steps of a clip; None for whole recordings. `recordings`: those to draw from; without any, the newest.
    The same recordings, length and seed draw the same pairs, and a larger count begins with those of a smaller one, so
    that asking again doubles nothing. Invalid, with its field, where no pair can be drawn.
    """
    if clips.key not in study.kinds:
        raise Invalid(
            f"This study asks {', '.join(study.kinds)}, and nobody to compare clips. Make a study whose interfaces "
            f"name {clips.key!r}."
        )
    if all((one["world"], one["task"]) != (world, task) for one in works(study)):
        raise Invalid(f"Nothing is recorded here of {_title(world, task)}.", field="world")
    fitting = study.recordings.filter(world=world, task=task, ended=True)
    if recordings:
        fitting = fitting.filter(pk__in=[one.pk for one in recordings])
    rows = list(fitting.order_by("-pk")[: len(recordings) or NEWEST])
    if len(rows) < len(recordings):
        raise Invalid(
            f"{len(recordings) - len(rows)} of the {len(recordings)} chosen recordings have not ended, or show "
            f"something else than {_title(world, task)}. Choose others.",
            field="recordings",
        )
    pairs = draw(_alike(rows, length or 1), count, length, seed)
    if not pairs:
        which = "chosen" if recordings else "ended"
        many = f"one {which} recording" if len(rows) == 1 else f"{len(rows)} {which} recordings"
        long = f" with {length:,} steps or more" if length else ""
        more = "choose more of them" if recordings else "let the robot work once more"
        raise Invalid(
            f"Found {many} of {_title(world, task)}; expected two{long} in which the same was asked. "
            f"{f'Take shorter clips, or {more}' if length else more.capitalize()}.",
            field="length" if length else None,
        )
    items = clip_items(study, pairs, source={"paired": {"seed": seed, "steps": length}})
    return Paired(count, len(pairs), len(items))


def _alike(rows: Sequence[Recording], least: int) -> list[list[tuple[str, int]]]:
    """The recordings with so many steps whose files are here, as (episode, steps): the same asked, the same group."""
    here, found = store(), defaultdict(list)
    for row in sorted(rows, key=lambda one: one.pk):
        if row.steps >= least and row.episode in here:
            found[here.open(row.episode).about.asked].append((row.episode, row.steps))
    return [found[asked] for asked in sorted(found) if len(found[asked]) > 1]


def draw(
    alike: Sequence[Sequence[tuple[str, int]]], count: int, length: int | None, seed: int
) -> list[tuple[Clip, Clip]]:
    """Up to `count` different pairs of clips, each of two (episode, steps) of one group, all of `length` steps or more.

    Any two episodes of a group are as likely as any other two, and so are all stretches of an episode.
    """
    many = [len(group) * (len(group) - 1) // 2 for group in alike]
    possible = sum(_stretches(group, length) for group in alike)
    chance, found = random.Random(seed), {}
    while len(found) < min(count, possible):
        (group,) = chance.choices(alike, weights=many)
        one, two = (_clip(*of, length, chance) for of in chance.sample(group, 2))
        found.setdefault(frozenset((one, two)), (one, two))
    return list(found.values())


def _stretches(group: Sequence[tuple[str, int]], length: int | None) -> int:
    """How many pairs of clips two different episodes of a group make: Σ_{i<j} w_i w_j = ((Σ w)² - Σ w²) / 2."""
    ways = [steps - length + 1 if length else 1 for _, steps in group]
    return (sum(ways) ** 2 - sum(one * one for one in ways)) // 2


def _clip(episode: str, steps: int, length: int | None, chance: random.Random) -> Clip:
    if length is None:
        return Clip(episode, 0, steps)
    start = chance.randrange(steps - length + 1)
    return Clip(episode, start, start + length)
