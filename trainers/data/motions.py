"""Motions in episodes: what each step is called, found mechanically, and what a robot learns about them.

    for every step t:  d = pose[t + W] - pose[t];  phrase(d) by the embodiment's grammar        (RT-H, arXiv:2403.01823)

`trainers/envs/motions.py` has the grammar. A stretch that a person named in another way keeps the person's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.driven import by_script, is_in, obeyed, one_size, rejections, runs, talking
from trainers.envs.motions import Embodiment
from trainers.envs.registry import tasks_of
from trainers.episodes import Episode, Episodes, Segment
from trainers.maths.words import heard
from trainers.records import Drive, Record, prompt_text

LABELLER = "motions"
"""Who said it, of a segment that was found mechanically."""
FIRM = 0.5
"""An action's number for the gripper means something from here on, where there is no pose after it to tell."""
PLAY = "play"
"""The task of episodes that were about nothing: their words name no goal."""


# --- from poses to phrases -----------------------------------------------------------------------------


def phrases_of(arm: Embodiment, poses: NDArray[Any], actions: NDArray[Any], seconds: float) -> list[str]:
    """[T] the phrase of each step, from poses [T, …] before the steps and actions [T, A] at them.

    What the last action did is in no pose: of the gripper it is taken from the action, of the arm from nothing. Towards
    the end the window is cut short.
    """
    count = len(poses)
    if not count:
        return []
    _check(arm, poses, actions)
    axes = poses[:, [axis.at for axis in arm.axes]].astype(float)
    ahead = np.minimum(np.arange(count) + arm.ahead(seconds), count - 1)
    changes = axes[ahead] - axes
    grips = np.zeros(count, int)
    if arm.gripper:
        closed = [*(poses[:, arm.gripper.at] > 0.5), _closed_after(arm, poses[-1], actions[-1])]
        later = np.minimum(np.arange(count) + arm.grip_ahead(seconds), count)
        grips = np.array([int(closed[then]) - int(closed[now]) for now, then in enumerate(later)])
    return [arm.phrase(change, int(grip)) for change, grip in zip(changes, grips, strict=True)]


def _closed_after(arm: Embodiment, pose: NDArray[Any], action: NDArray[Any]) -> bool:
    assert arm.gripper is not None
    wish = float(action[arm.gripper.action])
    return wish > 0 if abs(wish) >= FIRM else bool(pose[arm.gripper.at] > 0.5)


def _check(arm: Embodiment, poses: NDArray[Any], actions: NDArray[Any]) -> None:
    last = max([axis.at for axis in arm.axes] + ([arm.gripper.at] if arm.gripper else []))
    if poses.shape[1] <= last or (arm.gripper and actions.shape[1] <= arm.gripper.action):
        raise ValueError(
            f"The embodiment {arm.name} reads number {last} of a pose; found {poses.shape[1]} numbers in the "
            f"{arm.pose} and {actions.shape[1]} in the action. Name the embodiment of this world."
        )


def found(arm: Embodiment, episode: Episode) -> list[str]:
    """[T] the phrase of each step of an episode, mechanically."""
    steps = episode.steps
    if not len(steps):
        return []
    return phrases_of(arm, np.array(steps[arm.pose]), np.array(steps["action"]), episode.about.seconds)


def named(arm: Embodiment, episode: Episode) -> list[str]:
    """[T] the same, but as people named it where they did."""
    phrases = found(arm, episode)
    for one in episode.segments:
        if one.kind == "motion" and one.by != LABELLER:
            phrase = arm.understand(one.label)
            if phrase is not None:
                phrases[one.start : one.stop] = [phrase] * (one.stop - one.start)
    return phrases


# --- into episodes -------------------------------------------------------------------------------------


def label(arm: Embodiment, episode: Episode) -> tuple[int, int]:
    """Writes a segment for each stretch of one phrase; (written, withdrawn).

    Done again, nothing is written twice; after a change of the embodiment, what it says no longer is withdrawn. What
    people named stays as it is, and under it nothing is written.
    """
    source = {"embodiment": arm.name, "version": arm.version, "digest": arm.digest}
    current = {one.name: one for one in episode.history()}
    theirs = [one for one in episode.segments if one.kind == "motion" and one.by != LABELLER]
    wanted: dict[str, Segment] = {}
    phrases: list[str] = found(arm, episode)
    free = [not any(one.start <= t < one.stop for one in theirs) for t in range(len(phrases))]
    for start, stop in runs([phrase if open else "" for phrase, open in zip(phrases, free, strict=True)]):
        if free[start]:
            name = f"{LABELLER}-{start}"
            wanted[name] = Segment(name, start, stop, "motion", phrases[start], LABELLER, source=source)
    written = 0
    for name, one in wanted.items():
        before = current.get(name)
        if before is None or before.withdrawn or _meaning(before) != _meaning(one):
            episode.say(one)
            written += 1
    stale = [
        one
        for name, one in current.items()
        if one.by == LABELLER and not one.withdrawn and name not in wanted
    ]
    for one in stale:
        episode.say(
            Segment(
                one.name, one.start, one.stop, one.kind, one.label, LABELLER, withdrawn=True, source=source
            )
        )
    return written, len(stale)


def label_all(arm: Embodiment, root: Path) -> dict[str, Any]:
    """Labels the episodes of the embodiment's worlds in a folder. {"labelled", "other_worlds", "written", "withdrawn",
    "phrases": how many steps each was, most frequent first}.
    """
    labelled = others = written = withdrawn = 0
    often: Counter[str] = Counter()
    for episode in Episodes(root):
        if episode.about.world not in arm.worlds:
            others += 1
            continue
        more, fewer = label(arm, episode)
        labelled, written, withdrawn = labelled + 1, written + more, withdrawn + fewer
        often.update(found(arm, episode))
    return {
        "labelled": labelled, "other_worlds": others, "written": written, "withdrawn": withdrawn,
        "phrases": dict(often.most_common()),
    }  # fmt: skip


def _meaning(one: Segment) -> tuple[Any, ...]:
    return one.start, one.stop, one.kind, one.label, one.source.get("digest")


# --- what is learned from ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A stretch of an episode in which it was shown how something is done; T steps."""

    name: str
    words: str
    """What it was about; empty for play, which was about nothing."""
    observations: NDArray[np.float32]
    """[T, D]"""
    actions: NDArray[np.float32]
    """[T, A]"""
    phrases: list[str]
    """[T]"""
    weight: float = 1.0
    scripted: bool = False


@dataclass(frozen=True)
class Said:
    """A step at which a person named the motion."""

    episode: str
    words: str
    """What the robot was asked to do."""
    observation: NDArray[np.float32]
    """[D]"""
    phrase: str
    predicted: str
    weight: float = 1.0


def shown_by_rule(
    arm: Embodiment, name: str, task: str, seeds: Iterable[int], tremor: float = 0.0, most: int = 0
) -> list[Shown]:
    """Demonstrations by a world's own rule, whose hand trembles by so much: scripted, and named as such."""
    place, shown = talking(name), []
    for seed in seeds:
        chance = np.random.default_rng([seed, 7])
        observation = place.reset(seed, task)
        poses, seen, done = [], [], []
        for _ in range(most or place.most_steps):
            action = np.array(place.demonstrate(), dtype=float)
            action[:2] = np.clip(action[:2] + chance.normal(0.0, tremor, 2) if tremor else action[:2], -1, 1)
            poses.append(place.state() if arm.pose == "state" else observation)
            seen.append(observation)
            done.append(action)
            came = place.step(action)
            observation = came.observation
            if came.done:
                break
        actions = np.stack(done).astype(np.float32)
        phrases = phrases_of(arm, np.stack(poses), actions, place.seconds)
        words = "" if task == PLAY else str(place.scene().get("words", task))
        shown.append(Shown(f"{name}-{task}-{seed}", words, np.stack(seen), actions, phrases, scripted=True))
    return shown


def shown_in_tasks(
    arm: Embodiment, name: str, tasks: str, count: int, first: int, tremor: float
) -> list[Shown]:
    """`count` such demonstrations over all the tasks that are listed: the same at the same numbers, so that what a
    policy was first trained on can be made again.
    """
    shown: list[Shown] = []
    listed = tasks_of(name, tasks)
    for number, task in enumerate(listed):
        begin = first + number * 100_000
        mine = count // len(listed) + (number < count % len(listed))
        shown += shown_by_rule(arm, name, task, range(begin, begin + mine), tremor)
    return shown


def shown_by_people(arm: Embodiment, episodes: Episodes, records: Sequence[Record]) -> list[Shown]:
    """The stretches that people drove, less what they rejected."""
    rejected, shown = rejections(records), []
    for one in records:
        if not isinstance(one, Drive) or not one.weight:
            continue
        episode = episodes.open(one.episode)
        steps, phrases = episode.steps[one.start : one.stop], named(arm, episode)[one.start : one.stop]
        words = "" if episode.about.task == PLAY else prompt_text(one.prompt)
        good = [not is_in(one.start + t, rejected.get(one.episode, ())) for t in range(len(steps))]
        seen, done = np.array(steps["observation"])[good], np.array(steps["action"])[good]
        kept = [phrase for phrase, fine in zip(phrases, good, strict=True) if fine]
        if kept:
            shown.append(Shown(one.episode, words, seen, done, kept, one.weight, by_script(one)))
    return shown


def said_by_people(
    arm: Embodiment, episodes: Episodes, records: Sequence[Record], window: int, size: int = 0
) -> tuple[list[Said], Mapping[str, int]]:
    """(the steps at which a motion was named, at most `window` from when it was first obeyed; what was left out and
    why, counted). A motion is one whichever of a robot's layers it was said to: "move a bit to the left" is, "pick up
    the red block" is not. What another record rejects, or what lies under a later correction, is not learned; nor,
    with `size`, what was said where another world, or another number of things, makes observations of another size.
    """
    said: list[Said] = []
    left: dict[str, int] = {}
    opened: dict[str, NDArray[np.float32]] = {}
    for one, steps in obeyed(records, window):
        phrase, why = arm.understand(one.command), ""
        if not one.weight:
            why = "of weight 0"
        elif phrase is None:
            why = f"that name no motion of {arm.name}"
        else:
            if one.episode not in opened:
                opened[one.episode] = np.array(episodes.open(one.episode).steps["observation"])
            if size and opened[one.episode].shape[1] != size:
                why = f"where other than {size} numbers are seen"
        if why or phrase is None:
            left[why] = left.get(why, 0) + 1
            continue
        seen, words = opened[one.episode], prompt_text(one.prompt)
        for step in steps:
            if step < len(seen):
                said.append(Said(one.episode, words, seen[step], phrase, one.predicted, one.weight))
    return said, left


@dataclass(frozen=True)
class Moments:
    """Steps to learn from, as tensors; N of them."""

    observations: Tensor
    """[N, D]"""
    tasks: Tensor
    """[N, G]; of play, a vector that was drawn for the episode."""
    phrases: Tensor
    """[N] by number"""
    weights: Tensor
    """[N]"""
    actions: Tensor
    """[N, A]; empty where nobody acted."""
    aims: Tensor
    """[N] whether the task says where to go: pi_h learns from these alone."""

    def __len__(self) -> int:
        return len(self.phrases)

    def at(self, rows: Tensor) -> Moments:
        return Moments(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def moments_shown(arm: Embodiment, shown: Sequence[Shown], size: int, seed: int) -> Moments:
    """All steps of what was shown; a task's vector has `size` numbers. ValueError where several sizes are seen."""
    one_size({one.observations.shape[1]: one.name for one in shown})
    chance = np.random.default_rng([seed, 11])
    tasks, aims = [], []
    for one in shown:
        task = heard(one.words, size) if one.words else chance.standard_normal(size).astype(np.float32)
        tasks.append(np.tile(task, (len(one.phrases), 1)))
        aims += [bool(one.words)] * len(one.phrases)
    return Moments(
        torch.from_numpy(np.concatenate([one.observations for one in shown])),
        torch.from_numpy(np.concatenate(tasks)),
        torch.tensor([arm.number(phrase) for one in shown for phrase in one.phrases]),
        torch.tensor([one.weight for one in shown for _ in one.phrases]),
        torch.from_numpy(np.concatenate([one.actions for one in shown])),
        torch.tensor(aims),
    )


def moments_said(arm: Embodiment, said: Sequence[Said], size: int) -> Moments:
    """The same of what was said; nobody acted."""
    return Moments(
        torch.from_numpy(np.stack([one.observation for one in said])),
        torch.from_numpy(np.stack([heard(one.words, size) for one in said])),
        torch.tensor([arm.number(one.phrase) for one in said]),
        torch.tensor([one.weight for one in said]),
        torch.zeros(len(said), 0),
        torch.ones(len(said), dtype=torch.bool),
    )
