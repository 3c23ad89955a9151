"""RT-H: from demonstrations a query for the motion and one for the action (Belkhale et al. 2024, arXiv:2403.01823).

    m_t   = phrase(pose[t + W] - pose[t])                 found mechanically in what was shown
    L_h   = E [ -log pi_h(m_t | o_t, g) ]
    L_l   = E [ |a_t - pi_l(o_t, g, m_t)|^2 ]             with the true phrase, never with pi_h's
    acting: m = what a person says, or else argmax pi_h(. | o, g);  a = pi_l(o, g, m)

Tasks that differ in words share their motions: pi_l learns from all that was shown, whatever it was about, and also
from play, which was about nothing (its task is a vector drawn at random); pi_h only from what has a task. Left out:
pictures, one model for both queries, actions as tokens, co-training on questions about pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.checkpoints import HasState
from trainers.data.driven import drives_and_rejections, kept_back
from trainers.data.motions import (
    PLAY,
    Moments,
    Shown,
    moments_shown,
    shown_by_people,
    shown_by_rule,
    shown_in_tasks,
)
from trainers.envs.motions import Embodiment, embodiment_of
from trainers.envs.registry import WORLDS
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.nn import digest, save
from trainers.nn.hand import TASK
from trainers.nn.motions import MotionPolicy, policy_for
from trainers.records import Record, dumps
from trainers.registry import Count, Minority, NonNegative, Positive, Share, Whole
from trainers.reports import motions as report
from trainers.run import Run


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-3
    """Learning rate after warm-up."""
    steps: Count = 2000
    """Updates of each network."""
    batch_size: Count = 256
    """Steps of demonstrations an update, for each network."""
    world: Literal["reach", "table_talk"] = "reach"
    """Where it will act. Worlds whose motions have names."""
    tasks: str = "red, green, blue"
    """The tasks that are shown by the world's own rule."""
    demonstrations: Whole = 360
    """Demonstrations by that rule, over all tasks, beside those that people drove. They are named as scripted."""
    play: Whole = 300
    """Scripted episodes about nothing, for the action alone; in worlds that can be played in."""
    tremor: NonNegative = 0.2
    """How much the hand trembles in these: the deviation of its actions."""
    demonstration_seed: Whole = 10000
    """The first seed of the scripted episodes."""
    hidden: Count = 192
    """Width of both layers of both networks."""
    warmup: Share = 0.0
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 0.01
    """AdamW's weight decay, on matrices."""
    clip: Positive = 10.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Minority = 0.1
    """Share of the episodes kept from training, to measure on."""
    eval_every: Count = 200
    """Updates between two measurements on the held-out episodes."""


def train(config: Config, run: Run) -> None:
    arm = embodiment_of(config.world)
    assert arm is not None, f"{config.world} has no embodiment"
    shown = scripted(config, arm)
    drives: list[Record] = []
    if run.spec.snapshot is not None:
        drives = drives_and_rejections(run.snapshot)
        shown += shown_by_people(arm, run.episodes, drives)
    taught = [one for one in shown if not kept_back(one.name, config.held_out)] or shown
    kept = [one for one in shown if kept_back(one.name, config.held_out) and one.words]
    if not any(one.words for one in taught):
        raise ValueError(
            "There is nothing to imitate: nobody drove, and demonstrations is 0. Ask for scripted demonstrations, or "
            "drive some episodes first."
        )
    moments = moments_shown(arm, taught, TASK, run.seed)
    tests = moments_shown(arm, kept, TASK, run.seed) if kept else None
    policy = policy_for(
        arm, moments.observations.shape[1], moments.actions.shape[1], config.hidden, run.seed,
        {
            "world": config.world, "tasks": config.tasks, "demonstrations": config.demonstrations,
            "play": config.play, "tremor": config.tremor, "seed": config.demonstration_seed,
            "drives": [dumps(one) for one in drives],
        },
    )  # fmt: skip
    policy.scale(moments.observations)

    fit(config, run, policy, moments, tests)

    path = save(policy.eval(), run.home / "robot_policy")
    found = measured(policy, tests) if tests else {}
    run.report(findings(policy, shown, tests))
    run.artifact(
        "robot_policy", "robot_policy", path, config.steps,
        {"digest": digest(path), "world": config.world, "motions": arm.digest, "layer": "motion", **found},
    )  # fmt: skip


def scripted(config: Config, arm: Embodiment) -> list[Shown]:
    """What the world's own rule shows; the same for the same settings, on every machine."""
    first = config.demonstration_seed
    shown = shown_in_tasks(arm, config.world, config.tasks, config.demonstrations, first, config.tremor)
    if PLAY in WORLDS[config.world].tasks:
        seeds = range(first + 5_000_000, first + 5_000_000 + config.play)
        shown += shown_by_rule(arm, config.world, PLAY, seeds, config.tremor, 40)
    return shown


def fit(config: Config, run: Run, policy: MotionPolicy, moments: Moments, tests: Moments | None) -> None:
    """Both queries side by side; they share nothing but what they see."""
    aimed = moments.aims.nonzero()[:, 0]
    optimisers = [adamw(query, config.weight_decay) for query in (policy.motion, policy.action)]
    state: dict[str, HasState] = {
        "motion": policy.motion,
        "action": policy.action,
        "first": optimisers[0],
        "second": optimisers[1],
    }
    for step in run.steps(config.steps, state):
        tally = Tally()
        lr = run.knobs["lr"] * anneal(step, config.steps, config.warmup)
        for_motion = aimed[torch.randint(len(aimed), (config.batch_size,), generator=run.generator)]
        for_action = torch.randint(len(moments), (config.batch_size,), generator=run.generator)
        taken = descend(
            optimisers[0], motion_loss(policy, moments, for_motion.tolist(), tally), lr, config.clip
        )
        acted = descend(optimisers[1], action_loss(policy, moments, for_action.tolist()), lr, config.clip)
        run.log(step, {**taken, "motion/action_loss": acted["loss"], **tally.numbers()})
        if tests and (step % config.eval_every == 0 or step == config.steps):
            run.log(step, measured(policy, tests))


def motion_loss(
    policy: MotionPolicy, moments: Moments, rows: Sequence[int], tally: Tally
) -> Iterator[Tensor]:
    """L_h: the phrase that was found, out of all of the grammar's."""
    whole = moments.weights[list(rows)].sum()
    for part in parts(rows, len(rows)):
        one = moments.at(torch.tensor(part))
        logits = policy.logits(one.observations, one.tasks)  # [B, V]
        losses = F.cross_entropy(logits, one.phrases, reduction="none")
        yield (one.weights * losses).sum() / whole
        tally.add("motion/phrase_accuracy", (logits.detach().argmax(dim=1) == one.phrases).float())


def action_loss(policy: MotionPolicy, moments: Moments, rows: Sequence[int]) -> Iterator[Tensor]:
    """L_l: what was done, given the phrase that it was."""
    whole = moments.weights[list(rows)].sum()
    for part in parts(rows, len(rows)):
        one = moments.at(torch.tensor(part))
        errors = policy.acted(one.observations, one.tasks, one.phrases) - one.actions  # [B, A]
        yield (one.weights * errors.square().mean(dim=1)).sum() / whole


@torch.no_grad()
def measured(policy: MotionPolicy, tests: Moments) -> dict[str, float]:
    """On what was kept from training: how often the phrase is right, and the action's error given either phrase."""
    chosen = policy.logits(tests.observations, tests.tasks).argmax(dim=1)
    errors = [
        (policy.acted(tests.observations, tests.tasks, phrases) - tests.actions).square().mean().item()
        for phrases in (tests.phrases, chosen)
    ]
    return {
        "eval_motion/phrase_accuracy": (chosen == tests.phrases).double().mean().item(),
        "eval_motion/action_mse_true": errors[0],
        "eval_motion/action_mse_predicted": errors[1],
    }


def findings(policy: MotionPolicy, shown: Sequence[Shown], tests: Moments | None) -> dict[str, object]:
    """The report."""
    used = {phrase for one in shown for phrase in one.phrases}
    text = (
        f"Learned from {len(shown)} episodes ({sum(one.scripted for one in shown)} of them scripted), in which "
        f"{len(used)} of the {len(policy.arm.phrases)} phrases of {policy.arm.name} version {policy.arm.version} occur."
    )
    if tests is None:
        return {"readings": {}, "text": text}
    with torch.no_grad():
        chosen = policy.logits(tests.observations, tests.tasks).argmax(dim=1)
    wanted, taken = tests.phrases.tolist(), chosen.tolist()
    found = measured(policy, tests)
    readings = {
        "phrase_accuracy": report.told("Phrase right, held out", int((chosen == tests.phrases).sum()), len(tests)),
        "mse_true": {"label": "Error of actions by the true phrase", "value": found["eval_motion/action_mse_true"]},
        "mse_predicted": {
            "label": "Error of actions by its own phrase", "value": found["eval_motion/action_mse_predicted"]
        },
        **report.mistakes(policy.arm.phrases, wanted, taken),
    }  # fmt: skip
    return {
        "readings": readings,
        "confusion": report.confusion(policy.arm.phrases, wanted, taken),
        "text": text,
    }
