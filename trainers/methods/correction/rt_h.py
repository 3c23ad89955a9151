"""RT-H: what people say about a robot's motions, learned by its motion query (Belkhale et al. 2024, arXiv:2403.01823).

    D_I   the steps at which a person named the motion: (o, g, m_user)
    D     what the policy was first trained on, each step with the phrase that was found in it
    L     mean over a batch of half D, half D_I of  -log pi_h(m | o, g)

pi_h goes on from where it was; pi_l is frozen, and stays bit for bit what it was (RT-H-Intervene): it knows how to
carry every motion out already, and what is wrong is which one was chosen. Collecting, training on all that was
collected, and collecting again with what was learned are the paper's rounds. Without D, what was known is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.data import read_records
from trainers.data.driven import kept_back
from trainers.data.motions import (
    Moments,
    Shown,
    moments_said,
    moments_shown,
    said_by_people,
    shown_by_people,
    shown_in_tasks,
)
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.nn import digest, load_pilot, save
from trainers.nn.hand import TASK
from trainers.nn.motions import MotionPolicy
from trainers.nn.storage import digest_of
from trainers.records import Record, parse
from trainers.registry import Count, Minority, NonNegative, Positive, Share
from trainers.reports import motions as report
from trainers.run import Run


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 5e-4
    """Learning rate after warm-up."""
    steps: Count = 1000
    """Updates of the motion query."""
    batch_size: Count = 256
    """Steps an update."""
    ratio: Share = 0.5
    """Share of a batch that people said; the rest is what the policy was first trained on."""
    window: Count = 5
    """Steps from the beginning of a correction, at most, that get its phrase."""
    warmup: Share = 0.0
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 0.01
    """AdamW's weight decay, on matrices."""
    clip: Positive = 10.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Minority = 0.1
    """Share of the corrected episodes kept from training, to measure on; none while fewer than 10 were corrected."""
    eval_every: Count = 200
    """Updates between two measurements on the held-out episodes."""


ENOUGH = 10
"""Corrected episodes from which on some are held out."""


def train(config: Config, run: Run) -> None:
    policy = load_motion_policy(run)
    frozen = digest_of(policy.action)
    records = read_records(run.snapshot, ("language_correction",))
    said, left = said_by_people(policy.arm, run.episodes, records, config.window, policy.observation)
    enough = len({one.episode for one in said}) >= ENOUGH
    held = {one.episode for one in said if enough and kept_back(one.episode, config.held_out)}
    taught, kept = ([one for one in said if (one.episode in held) == out] for out in (False, True))
    if not taught:
        raise ValueError(
            "No correction is left to learn from."
            + report.left_out(left)
            + " Name the right motion, live or on a "
            "recording, with the motion keys or in words such as “" + policy.arm.phrases[1] + "”."
        )
    new = moments_said(policy.arm, taught, TASK)
    old = moments_shown(policy.arm, base_data(run, policy, records), TASK, run.seed)
    tests = moments_said(policy.arm, kept, TASK) if kept else None
    before = right(policy, tests) if tests else 0
    policy.action.requires_grad_(False)

    fit(config, run, policy, old, new, tests)

    policy.action.requires_grad_(True)
    if digest_of(policy.action) != frozen:
        raise RuntimeError(
            "The action query has changed, which this method never does: do not use what it made."
        )
    path = save(policy.eval(), run.home / "robot_policy")
    episodes = len({one.episode for one in said})
    readings: dict[str, Any] = {
        "corrected": {"label": "Steps at which a motion was named", "value": len(taught)},
        "episodes": {"label": "Episodes that were corrected", "value": episodes},
    }
    text = f"Learned {len(taught)} steps of {episodes} corrected episodes.{report.left_out(left)}"
    if tests:
        after = right(policy, tests)
        readings["held_out/before"] = report.told("Named motion chosen, held out, before", before, len(tests))
        readings["held_out/after"] = report.told("Named motion chosen, held out, after", after, len(tests))
        text += (
            f" In episodes it never saw, it chose the named motion at {before} of {len(tests)} steps before, and at "
            f"{after} after."
        )
    with torch.no_grad():
        chosen = policy.logits(new.observations, new.tasks).argmax(dim=1).tolist()
    run.report(
        {
            "readings": {**readings, **report.per_phrase([one.phrase for one in said])},
            "confusion": report.confusion(policy.arm.phrases, new.phrases.tolist(), chosen),
            "text": text,
        }
    )
    run.artifact(
        "robot_policy", "robot_policy", path, config.steps,
        {"digest": digest(path), "action_query": frozen, "motions": policy.arm.digest, "corrections": len(taught)},
    )  # fmt: skip


def load_motion_policy(run: Run) -> MotionPolicy:
    policy = load_pilot(run.input("robot_policy"), run.device)
    if not isinstance(policy, MotionPolicy):
        raise ValueError(
            f"The robot_policy is a {type(policy).__name__}, which chooses no motions. Train one with "
            "control/rt_h_base first; correction/yay learns corrections of commands."
        )
    return policy


def base_data(run: Run, policy: MotionPolicy, records: Sequence[Record]) -> list[Shown]:
    """D: what the world's rule had shown, made again by the same seeds, and what people had driven, less what they
    reject by now. Play taught the motion query nothing, and is left out.
    """
    base, arm = policy.config.base, policy.arm
    drives = [parse(line, number) for number, line in enumerate(base.get("drives", ()), 1)]
    shown = shown_by_people(arm, run.episodes, [*drives, *records]) if drives else []
    if count := base.get("demonstrations", 0):
        shown += shown_in_tasks(arm, base["world"], base["tasks"], count, base["seed"], base["tremor"])
    if not any(one.words for one in shown):
        raise ValueError(
            "There is nothing to mix in: the policy does not say what it was first trained on, and without it would "
            "forget what it knew. Train it anew with control/rt_h_base."
        )
    return [one for one in shown if one.words]


def fit(
    config: Config, run: Run, policy: MotionPolicy, old: Moments, new: Moments, tests: Moments | None
) -> None:
    """Only the motion query is handed to the optimiser."""
    sides = (new, old)
    sizes = (
        round(config.ratio * config.batch_size),
        config.batch_size - round(config.ratio * config.batch_size),
    )
    optimiser = adamw(policy.motion, config.weight_decay)
    for step in run.steps(config.steps, {"motion": policy.motion, "optimiser": optimiser}):
        tally = Tally()
        lr = run.knobs["lr"] * anneal(step, config.steps, config.warmup)
        rows = [
            (side, int(row))
            for side, size in enumerate(sizes)
            for row in torch.randint(len(sides[side]), (size,), generator=run.generator)
        ]
        taken = descend(optimiser, losses(policy, sides, rows, tally), lr, config.clip)
        run.log(step, {**taken, **tally.numbers()})
        if tests and (step % config.eval_every == 0 or step == config.steps):
            run.log(step, {"eval_motion/corrected_accuracy": right(policy, tests) / len(tests)})


def losses(
    policy: MotionPolicy, sides: Sequence[Moments], rows: Sequence[tuple[int, int]], tally: Tally
) -> Iterator[Tensor]:
    """L, from (0, row) of what was said and (1, row) of the base."""
    whole = sum(sides[side].weights[row] for side, row in rows)
    for part in parts(rows, len(rows)):
        for side, name in enumerate(("motion/corrected_accuracy", "motion/phrase_accuracy")):
            mine = [row for of, row in part if of == side]
            if not mine:
                continue
            one = sides[side].at(torch.tensor(mine))
            logits = policy.logits(one.observations, one.tasks)
            yield (one.weights * F.cross_entropy(logits, one.phrases, reduction="none")).sum() / whole
            tally.add(name, (logits.detach().argmax(dim=1) == one.phrases).float())


@torch.no_grad()
def right(policy: MotionPolicy, tests: Moments) -> int:
    """Steps at which the first choice is what the person said."""
    return int((policy.logits(tests.observations, tests.tasks).argmax(dim=1) == tests.phrases).sum())
