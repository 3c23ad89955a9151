"""BC: two levels of a robot by behaviour cloning, as YAY Robot's base policies (Shi et al. 2024, arXiv:2403.12910).

    low   L = E [ |a_hat - a| + 0.3 w BCE(fingers) ]    a_hat = pi_L(o_t, e(l_t)) for the steps t … t + k - 1 under l_t
    high  L = E [ -log softmax_j ( cos(y(o_{t - H skip}, …, o_t), e(c_j)) / tau ) at c_j = l_t ]

Left out: images (things are seen by their names and offsets), the CVAE around the low level (the scripted
demonstrations have one way to do a thing), the look-ahead of the label (a decision here lasts a
second, and is made in no time).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.checkpoints import HasState
from trainers.data.driven import Trace, decisions, demonstrated, drilled, driven, drives_and_rejections
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.nn import digest, save
from trainers.nn.commands import MOTIONS
from trainers.nn.robots import Robot, RobotConfig
from trainers.nn.robots.lessons import HighLessons, LowLessons, high_lessons, logits, low_lessons, low_loss
from trainers.registry import Count, NonNegative, Positive, Share, Whole
from trainers.reports import robots as report
from trainers.run import Run
from trainers.sampling.annotator import Annotator
from trainers.sampling.episodes import Setting, live


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 2e-3
    """The low level's learning rate after warm-up."""
    high_lr: Positive = 1e-3
    """The high level's."""
    steps: Count = 4000
    """Updates; each is one of the low level, and one of the high level."""
    demonstrations: Whole = 150
    """Demonstrations made by the world's own rule, beside those that people drove. They are named as scripted."""
    drills: Whole = 60
    """Stretches of fine motions by the same rule, for the low level: nobody is told "a bit left" in a demonstration."""
    world: str = "table_talk"
    """Where it will act."""
    task: str = "pack"
    """What it is to do there."""
    things: Count = 3
    """How many things lie on the table in the scripted demonstrations."""
    demonstration_seed: Whole = 10000
    """The first seed of the scripted demonstrations."""
    shortest: Whole = 4
    """Runs of one command in what people drove that are shorter, in steps, are left out."""
    every: Count = 10
    """Steps from one decision of the high level to the next."""
    history: Whole = 3
    """Earlier moments that the high level sees."""
    skip: Count = 5
    """Steps from one of these moments to the next."""
    chunk: Count = 4
    """Actions that the low level foretells at a time."""
    execute: Count = 2
    """How many of these are carried out before it is asked anew. A new command always counts at once."""
    width: Count = 128
    """Width of both levels' hidden layers."""
    low_batch: Count = 256
    """Steps of demonstrations in an update of the low level."""
    batch_size: Count = 64
    """Decisions in an update of the high level."""
    tests: Whole = 20
    """Episodes on fresh tables after training, for the report; 0 for none."""
    warmup: Share = 0.0
    """Share of the steps over which the learning rates rise; afterwards they fall to 0."""
    weight_decay: NonNegative = 0.0
    """AdamW's weight decay, on matrices."""
    clip: Positive = 10.0
    """Longest gradient; a longer one is scaled down."""


FRESH = 900_000
"""The first seed of the episodes that are tests."""


def train(config: Config, run: Run) -> None:
    dials = {"things": config.things} if config.things != 3 else {}
    first = config.demonstration_seed
    drives: list[Trace] = []
    shown: list[Trace] = []
    overruns: list[Trace] = []
    drills: list[Trace] = []
    if run.spec.snapshot is not None:
        drives = driven(run.episodes, drives_and_rejections(run.snapshot), config.shortest)
    if config.demonstrations:
        seeds = range(first, first + config.demonstrations)
        shown, overruns = demonstrated(config.world, config.task, seeds, dials, overruns=True)
    if config.drills:
        drills = drilled(
            config.world,
            config.task,
            range(first + 40_000, first + 40_000 + config.drills),
            [*MOTIONS.values()],
            dials,
        )
    robot = Robot(
        RobotConfig(
            world=config.world, task=config.task, every=config.every, history=config.history, skip=config.skip,
            chunk=config.chunk, execute=config.execute, width=config.width, seed=run.seed,
            base={"demonstrations": config.demonstrations, "seed": first, "dials": dials, "drives": len(drives)},
        )
    )  # fmt: skip
    things = most_things([*shown, *drills, *drives])
    low = low_lessons([*shown, *overruns, *drills, *drives], config.chunk, things)
    high = high_lessons(decisions([*shown, *drives]), config.history, config.skip, things)
    with torch.no_grad():
        robot.low.normalise(low.body, low.here, low.offsets)
    robot.bank = sorted(set(high.commands))

    total = fit(config, run, robot, low, high)

    path = save(robot.eval(), run.home / "robot_policy")
    if config.tests:
        setting = Setting(config.world, config.task, dials)
        seeds = range(FRESH, FRESH + config.tests)
        watch = Annotator()
        lived = live(robot, setting, seeds, watch=watch)
        run.report(report.alone(lived, live(robot, setting, seeds, oracle=True)))
    run.artifact(
        "robot_policy", "robot_policy", path, total,
        {"digest": digest(path), "world": config.world, "task": config.task, "bank": len(robot.bank)},
    )  # fmt: skip


def fit(config: Config, run: Run, robot: Robot, low: LowLessons, high: HighLessons) -> int:
    """Both levels at once: they share nothing but the clock."""
    labels = high.labels(robot.bank)
    optimisers = [adamw(level, config.weight_decay) for level in (robot.low, robot.high)]
    state: dict[str, HasState] = {"low": robot.low, "high": robot.high}
    state |= {"low_optimiser": optimisers[0], "high_optimiser": optimisers[1]}
    for step in run.steps(config.steps, state):
        tally = Tally()
        share = anneal(step, config.steps, config.warmup)
        rows = [
            torch.randint(0, len(lessons), (size,), generator=run.generator)
            for lessons, size in ((low, config.low_batch), (high, config.batch_size))
        ]

        def low_losses(batch: Tensor = rows[0]) -> Iterator[Tensor]:
            whole = low.counts[batch].sum()
            for part in parts(batch.tolist(), config.low_batch):
                yield low_loss(robot, low, torch.tensor(part), whole)

        def high_losses(batch: Tensor = rows[1], tally: Tally = tally) -> Iterator[Tensor]:
            whole = high.weight[batch].sum()
            for part in parts(batch.tolist(), config.batch_size):
                at = torch.tensor(part)
                scores = logits(robot, high, at)  # [B, C]
                losses = F.cross_entropy(scores, labels[at], reduction="none")
                yield (losses * high.weight[at]).sum() / whole
                tally.add("high/accuracy", (scores.detach().argmax(-1) == labels[at]).float())

        taken = descend(optimisers[0], low_losses(), run.knobs["lr"] * share, config.clip)
        decided = descend(optimisers[1], high_losses(), run.knobs["high_lr"] * share, config.clip)
        tau = robot.high.tau.item()
        run.log(step, {**taken, "high/loss": decided["loss"], "high/tau": tau, **tally.numbers()})
    return config.steps


def most_things(traces: list[Trace]) -> int:
    if not traces:
        raise ValueError(
            "There is nothing to imitate: nobody drove, and demonstrations is 0. Ask for scripted demonstrations, or "
            "drive some episodes first."
        )
    return max(len(trace.scene["things"]) for trace in traces)
