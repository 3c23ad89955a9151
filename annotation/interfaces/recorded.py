"""What the interfaces about robots share: which answers are clips, how one is shown, and what its words can mean.

A clip is shown from the episode's own files, and only where the episode belongs to the study that asks: the text of an
item is whatever somebody wrote into it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

from django.conf import settings
from django.urls import reverse

from annotation.errors import Invalid
from annotation.models import Candidate, Label, Recording
from trainers.envs.registry import WORLDS, world
from trainers.envs.table_talk.language import understand
from trainers.episodes import PERSON, POLICY, UNSAID, Clip, Episode, Episodes, NoEpisode

MOST_PICTURES = 3
"""Of a clip, on a page without script."""
GONE = (
    "The recording is not here: its files are missing from this studio's store of episodes. Skip, and say so."
)
FOREIGN = "The recording is not one of this study's, so it is not shown. Skip, and say so."


def clip_of(candidate: Candidate) -> Clip | None:
    """The clip that an answer is; None for a text."""
    try:
        return Clip.read(candidate.text)
    except ValueError:
        return None


def is_driven(candidate: Candidate) -> bool:
    """Whether a person drove, and no policy acted."""
    return bool(candidate.source.get("driven"))


def alone(candidates: Sequence[Candidate]) -> Candidate | None:
    """The only answer, where it is a clip."""
    return candidates[0] if len(candidates) == 1 and clip_of(candidates[0]) else None


def asked_about(given: Label, candidate: int) -> tuple[Candidate, str]:
    """The answer that a label is about, and the episode that it is of."""
    found = next(one for one in given.task.item.candidates.all() if one.pk == candidate)
    return found, Clip.read(found.text).episode


PLAYER = {
    "play": ("space", "play, or hold still"),
    "frame_back": (",", "one step back"),
    "frame_on": (".", "one step on"),
    "speed": ("v", "play at half, once, twice, four times the speed"),
    "loop": ("l", "play in a loop, or once"),
}
"""The actions of every page that plays a clip."""
PLAYER_KEYS = [("← →", "back and on by half a second"), ("Home", "to the beginning")]

FLAGS = {None: "", True: "1", False: "0"}
"""Yes, no and not said, as a form has them."""


def read_flag(value: Any, name: str) -> bool | None:
    """Yes, no or not said, in a form or in JSON."""
    known = {None: None, True: True, False: False} | {text: flag for flag, text in FLAGS.items()}
    if not isinstance(value, str | bool | None) or value not in known:
        raise Invalid(f"Found {value!r}; expected true, false or null.", field=name)
    return known[value]


# --- one clip, as it is shown


@dataclass(frozen=True)
class Stretch:
    """Steps that follow each other under one command."""

    start: int
    stop: int
    command: str
    by: str
    """policy, person, script or nobody."""


def episode_of(claim, clip: Clip) -> Episode | None:
    """The episode of a clip, where it is the study's and its files are here, with the clip's steps."""
    ours = Recording.objects.filter(study=claim.task.study_id, episode=clip.episode).exists()
    return _open(clip) if ours else None


def _open(clip: Clip) -> Episode | None:
    try:
        found = Episodes(settings.EPISODES).open(clip.episode)
    except NoEpisode:
        return None
    return found if clip.stop <= len(found) else None


def shown(claim, names: Sequence[str]) -> list[dict[str, Any]]:
    """The clips of a turn in the order shown, each with where its numbers come from and what was said in it."""
    clips = [clip_of(candidate) for candidate in claim.candidates]
    named = {one.episode for one in clips if one}
    ours = set(
        Recording.objects.filter(study=claim.task.study_id, episode__in=named).values_list(
            "episode", flat=True
        )
    )
    return [
        _shown(claim, candidate, clip, name, ours)
        for candidate, clip, name in zip(claim.candidates, clips, names, strict=False)
    ]


def _shown(claim, candidate: Candidate, clip: Clip | None, name: str, ours: set[str]) -> dict[str, Any]:
    policy = "" if claim.task.study.names_hidden else candidate.policy
    found: dict[str, Any] = {"name": name, "id": candidate.pk, "policy": policy, "text": candidate.text}
    if clip is None or clip.episode not in ours:
        return {**found, "missing": FOREIGN}
    episode = _open(clip)
    if episode is None:
        return {**found, "missing": GONE}
    about = episode.about
    return {
        **found,
        "missing": "",
        "episode": clip.episode,
        "start": clip.start,
        "stop": clip.stop,
        "length": clip.stop - clip.start,
        "last": clip.stop - clip.start - 1,
        "seconds": about.seconds,
        "lasts": round((clip.stop - clip.start) * about.seconds, 1),
        "world": about.world,
        "about": reverse("annotation:recording", args=[clip.episode]),
        "steps": f"{reverse('annotation:recording_steps', args=[clip.episode])}?from={clip.start}&to={clip.stop}",
        "pictures": pictures(clip),
        "stretches": [
            {
                "start": one.start,
                "stop": one.stop,
                "first": one.start - clip.start,
                "last": one.stop - clip.start - 1,
                "command": one.command,
                "by": one.by,
            }
            for one in stretches(episode, clip)
        ],
    }


def pictures(clip: Clip) -> list[dict[str, Any]]:
    """A few moments of a clip for a page without script: the first, the last, and one between."""
    last = clip.stop - 1
    steps = dict.fromkeys([clip.start, (clip.start + last) // 2, last])
    return [
        {
            "step": step - clip.start,
            "address": reverse("annotation:recording_picture", args=[clip.episode, step]) + "?size=256",
        }
        for step in list(steps)[:MOST_PICTURES]
    ]


def stretches(episode: Episode, clip: Clip) -> list[Stretch]:
    """What the robot was told through a clip."""
    rows, commands = episode.steps[clip.start : clip.stop], episode.commands
    said = zip(rows["command"].tolist(), rows["commander"].tolist(), strict=True)
    found, at = [], clip.start
    for (number, who), same in groupby(said):
        length = len(list(same))
        command = "" if number == UNSAID or number >= len(commands) else commands[number]
        found.append(Stretch(at, at + length, command, _who(who)))
        at += length
    return found


def _who(code: int) -> str:
    return {POLICY: "policy", PERSON: "person"}.get(code, "script" if code else "nobody")


def wanted(episode: Episode, step: int) -> str:
    """What the policy itself wanted at a step; empty where somebody else commanded."""
    row, commands = episode.steps[step], episode.commands
    number = int(row["command"])
    mine = int(row["commander"]) == POLICY and 0 <= number < len(commands)
    return commands[number] if mine else ""


def stages(episode: Episode) -> list[str]:
    """The stages of an episode's task, where its world can be set up beside a page."""
    about = episode.about
    given = about.scene.get("stages")
    if isinstance(given, list | Mapping):
        return [str(one) for one in given]
    entry = WORLDS.get(about.world)
    if entry is None or not (entry.drawn and entry.talks and entry.here):
        return []
    return list(_stages(about.world, about.task, about.seed, json.dumps(dict(about.dials), sort_keys=True)))


@lru_cache(maxsize=512)
def _stages(name: str, task: str, seed: int, dials: str) -> tuple[str, ...]:
    made = world(name)
    try:
        made.reset(seed, task, json.loads(dials))
    except ValueError:  # recorded by another version of the world, with a task or dials that this one has not
        return ()
    return tuple(made.stages)


# --- words


@dataclass(frozen=True)
class Meant:
    """What words mean to a robot: a command to be confirmed, or what to ask back."""

    command: str | None
    ask: str = ""
    others: tuple[str, ...] = ()
    """What else may have been meant, most likely first."""


def meaning(episode: Episode, text: str, layer: str = "command") -> Meant:
    """What a phrase means in the world of an episode. What is unclear is asked back, and never guessed."""
    scene = episode.about.scene
    if not text.strip():
        return Meant(None, "Nothing was said. Say what it should have done.")
    if layer == "motion":
        return _one_of(text, motions(episode), "motions that this recording knows")
    if isinstance(scene.get("things"), list):
        names = [str(one.get("name", "")) for one in scene["things"] if isinstance(one, Mapping)]
        found = understand(text, names, [str(one) for one in scene.get("places", [])])
        others = tuple(map(str, found.others))
        return Meant(str(found.command) if found.command else None, found.ask, others)
    return _one_of(text, list(dict.fromkeys(episode.commands)), "commands that this recording knows")


def _one_of(text: str, known: Iterable[str], what: str) -> Meant:
    """A phrase out of a list; one that is not in it is kept as it is only when its speaker says so."""
    known = list(known)
    said = " ".join(text.split())
    for one in known:
        if one.casefold() == said.casefold():
            return Meant(one)
    near = difflib.get_close_matches(said, known, n=4, cutoff=0.5)
    return Meant(None, f"“{said[:60]}” is none of the {what}. Choose what was meant.", (*near, said))


def motions(episode: Episode) -> list[str]:
    """The words for motions in an episode, as they were read off its steps."""
    return list(dict.fromkeys(one.label for one in episode.segments if one.kind == "motion" and one.label))
