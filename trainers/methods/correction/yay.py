"""YAY Robot: what people tell a robot while it works, learned by its high level (Shi et al. 2024, arXiv:2403.12910).

    D       demonstrations, each step with its command
    D_corr  at each correction: the moments from when it was (or should have been) obeyed, with the words of the person
    batch   floor(ratio B) of D_corr, the rest of D
    L       -log softmax_j ( cos(y(o_{t - H skip}, …, o_t), e(c_j)) / tau ) over the bank, the union of both's commands

The high level goes on from where it was; the low level is frozen, and stays bit for bit what it was. Collecting,
training and collecting again with what was learned is HG-DAgger over language. Left out: pauses for
typing. The moments before a correction are history here, as in the released code, and never have its label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.data import read_records
from trainers.data.driven import (
    Moment,
    Trace,
    corrected,
    decisions,
    demonstrated,
    driven,
    kept_back,
    reactions,
)
from trainers.envs.registry import WORLDS
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.nn import digest, load_pilot, save
from trainers.nn.robots import Robot
from trainers.nn.robots.lessons import HighLessons, high_lessons, logits
from trainers.nn.storage import digest_of
from trainers.records import LanguageCorrection, Record
from trainers.registry import Count, Minority, NonNegative, Positive, Share, Whole
from trainers.reports import robots as report
from trainers.run import Run
from trainers.sampling.annotator import Annotator
from trainers.sampling.episodes import Lived, Setting, live


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-3
    """Learning rate after warm-up."""
    steps: Count = 1500
    """Updates of the high level."""
    ratio: Share = 0.3
    """Share of a batch that are corrections. The paper has 0.1, with a thousand times as many of them a round."""
    window: Count = 3
    """Steps from the beginning of a correction that get its label: the decision, and not all that it led to."""
    before: Whole = 0
    """Steps before a correction that get its label too. With 0 they are what the high level sees, and no more."""
    tempos: bool = True
    """Whether what led to a correction is also shown as if it had gone faster or slower."""
    motions: bool = True
    """Whether fine motions ("a bit left") that were pressed as keys are learned too: they are commands of the bank."""
    demonstrations: Whole = 150
    """Demonstrations by the world's own rule that are mixed in, made as the robot's first data were. Scripted."""
    batch_size: Count = 64
    """Decisions an update."""
    tests: Whole = 20
    """Episodes by itself, before and after, for the report: on fresh tables, and on those it was corrected on."""
    shortest: Whole = 4
    """Runs of one command in what people drove that are shorter, in steps, are left out."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 0.0
    """AdamW's weight decay, on matrices."""
    clip: Positive = 10.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Minority = 0.1
    """Share of the episodes kept from training, to measure on; none while fewer than 20 were corrected."""
    eval_every: Count = 200
    """Updates between two measurements on the held-out episodes."""


TEMPOS = (1.6, 1.0, 0.6)
"""How fast what led to a correction is taken to have gone. Who speaks does so at any step and not at the robot's own
pace, by which it decides when it is alone: its past then looks stretched or squeezed."""
FRESH = 900_000
"""The first seed of the tables that nobody taught it on."""
ENOUGH = 20
"""Corrected episodes from which on some are held out."""


def train(config: Config, run: Run) -> None:
    robot = load_robot(run)
    frozen = digest_of(robot.low)
    records = read_records(run.snapshot, ("language_correction", "drive"))
    base = base_data(config, run, robot, records)
    moments = corrected(run.episodes, records, config.window, config.before, config.motions)
    taught, kept = split(moments, config.held_out)
    base_taught, base_kept = base_split(base, config.held_out if kept else 0.0)
    if not taught and not any(one.episode for one in base):
        raise ValueError(
            "Nothing that people said or showed is left to learn from: it is all of weight 0, rejected, or of a layer "
            "that is left out. Correct the robot, live or on a recording, and freeze the answers again."
        )
    things = max(len(one.scene["things"]) for one in [*base, *(moment.trace for moment in moments)])
    shape = (robot.config.history, robot.config.skip, things)
    sides = {
        name: paced(rows, *shape, TEMPOS if config.tempos and name == "corrected" else (1.0,))
        for name, rows in (("corrected", as_decisions(taught)), ("accuracy", decisions(base_taught)))
        if rows
    }
    held = {
        name: high_lessons(rows, *shape)
        for name, rows in (("corrected", as_decisions(kept)), ("accuracy", decisions(base_kept)))
        if rows
    }
    said = {command for lessons in (*sides.values(), *held.values()) for command in lessons.commands}
    robot.bank = [*robot.bank, *sorted(said - {*robot.bank})]
    robot.low.requires_grad_(False)

    total = fit(config, run, robot, sides, held)

    if digest_of(robot.low) != frozen:
        raise RuntimeError(
            "The low level has changed, which this method never does: do not use what it made."
        )
    robot.low.requires_grad_(True)
    path = save(robot.eval(), run.home / "robot_policy")
    told(config, run, robot, records)
    run.artifact(
        "robot_policy", "robot_policy", path, total,
        {"digest": digest(path), "low_level": frozen, "bank": len(robot.bank), "corrections": len(taught)},
    )  # fmt: skip


def fit(
    config: Config, run: Run, robot: Robot, sides: dict[str, HighLessons], held: dict[str, HighLessons]
) -> int:
    """Only the high level is handed to the optimiser. `sides` are D_corr and D, or the one of them that there is."""
    corrections = int(config.ratio * config.batch_size)
    sizes = {"corrected": corrections, "accuracy": config.batch_size - corrections}
    if len(sides) == 1:
        sizes = dict.fromkeys(sides, config.batch_size)
    labels = {name: lessons.labels(robot.bank) for name, lessons in sides.items()}
    optimiser = adamw(robot.high, config.weight_decay)
    for step in run.steps(config.steps, {"high": robot.high, "optimiser": optimiser}):
        tally = Tally()
        lr = run.knobs["lr"] * anneal(step, config.steps, config.warmup)
        drawn = [
            (name, int(row))
            for name, lessons in sides.items()
            for row in torch.randint(0, len(lessons), (sizes[name],), generator=run.generator)
        ]

        def losses(batch: list[tuple[str, int]], tally: Tally = tally) -> Iterator[Tensor]:
            whole = sum(float(sides[side].weight[row]) for side, row in batch)
            for part in parts(batch, config.batch_size):
                for side, lessons in sides.items():
                    rows = torch.tensor([row for where, row in part if where == side], dtype=torch.long)
                    if len(rows):
                        scores = logits(robot, lessons, rows)  # [B, C]
                        ce = F.cross_entropy(scores, labels[side][rows], reduction="none")
                        tally.add(f"high/{side}", (scores.detach().argmax(-1) == labels[side][rows]).float())
                        yield (ce * lessons.weight[rows]).sum() / whole

        taken = descend(optimiser, losses(drawn), lr, config.clip)
        run.log(
            step,
            {**taken, "high/tau": robot.high.tau.item(), "high/bank": len(robot.bank), **tally.numbers()},
        )
        if held and (step % config.eval_every == 0 or step == config.steps):
            run.log(step, evaluate(robot, held))
    return config.steps


@torch.no_grad()
def evaluate(robot: Robot, held: dict[str, HighLessons]) -> dict[str, float]:
    """How often the first choice is the right one: at held-out corrections, and in held-out demonstrations."""
    found = {}
    for name, lessons in held.items():
        scores = logits(robot, lessons, torch.arange(len(lessons)))
        labels = lessons.labels(robot.bank)
        found[f"eval_high/{name}"] = (scores.argmax(-1) == labels).float().mean().item()
        if name == "corrected":
            found["eval_loss"] = F.cross_entropy(scores, labels).item()
    return found


def load_robot(run: Run) -> Robot:
    robot = load_pilot(run.input("robot_policy"), run.device)
    if not isinstance(robot, Robot):
        raise ValueError(
            f"{run.input('robot_policy')} holds a policy of kind {getattr(robot, 'kind', '?')!r}. This method teaches "
            f"the high level of the kind {Robot.kind!r}."
        )
    return robot


def base_data(config: Config, run: Run, robot: Robot, records: Sequence[Record]) -> list[Trace]:
    """D: the demonstrations that the robot first learned from, made again; and what people drove."""
    found: list[Trace] = []
    base = robot.config.base
    if config.demonstrations:
        first = int(base.get("seed", 10_000))
        seeds = range(first, first + config.demonstrations)
        found, _ = demonstrated(robot.config.world, robot.config.task, seeds, base.get("dials", {}))
    return found + driven(run.episodes, records, config.shortest)


def split(moments: list[Moment], share: float) -> tuple[list[Moment], list[Moment]]:
    """(taught, held out), whole episodes, by their names."""
    names = {one.trace.episode for one in moments}
    out = {name for name in names if len(names) >= ENOUGH and kept_back(name, share)}
    return (
        [one for one in moments if one.trace.episode not in out],
        [one for one in moments if one.trace.episode in out],
    )


def base_split(base: list[Trace], share: float) -> tuple[list[Trace], list[Trace]]:
    """(taught, held out): every so manieth demonstration."""
    if not share or len(base) < ENOUGH:
        return base, []
    every = round(1 / share)
    return [one for n, one in enumerate(base) if n % every], base[::every]


def paced(
    decisions: Sequence[tuple[Trace, int, str, float]],
    history: int,
    skip: int,
    things: int,
    tempos: Sequence[float],
) -> HighLessons:
    """The decisions once for each tempo: the higher it is, the fewer steps lie between the moments of the past."""
    found = [high_lessons(decisions, history, max(1, round(skip / tempo)), things) for tempo in tempos]
    return HighLessons(
        things=torch.cat([one.things for one in found]),
        whole=torch.cat([one.whole for one in found]),
        fixed=torch.cat([one.fixed for one in found]),
        here=torch.cat([one.here for one in found]),
        commands=tuple(command for one in found for command in one.commands),
        weight=torch.cat([one.weight for one in found]),
    )


def as_decisions(moments: Sequence[Moment]) -> list[tuple[Trace, int, str, float]]:
    return [(one.trace, one.step, one.command, one.weight) for one in moments]


def told(config: Config, run: Run, robot: Robot, records: Sequence[Record]) -> None:
    """Before and after, by itself, on the same tables: those it was corrected on, and fresh ones."""
    said = [one for one in records if isinstance(one, LanguageCorrection)]
    if not config.tests or not said:
        return
    about = [run.episodes.open(name).about for name in dict.fromkeys(one.episode for one in said)]
    newest = about[-1]
    setting = Setting(newest.world, newest.task, newest.dials)
    here = [
        one.seed
        for one in about
        if (one.world, one.task, one.dials) == (newest.world, newest.task, newest.dials)
    ]
    watch = Annotator() if WORLDS[newest.world].talks else None
    before = load_robot(run)

    def both(seeds: Sequence[int]) -> tuple[list[Lived], list[Lived]]:
        return live(before, setting, seeds, watch=watch), live(robot, setting, seeds, watch=watch)

    tables = {
        "taught": both(list(dict.fromkeys(here))[-config.tests :]),
        "fresh": both(range(FRESH, FRESH + config.tests)),
    }
    lengths = {one.episode: len(run.episodes.open(one.episode).steps) // robot.every for one in said}
    run.report(report.before_and_after(tables, said, lengths, reactions(run.episodes, said)))
