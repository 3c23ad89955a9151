"""PPO from preferences: a reward model and a policy learn by turns while people compare clips (Christiano et al. 2017,
arXiv:1706.03741, section 2.2).

    1. The policy acts in copies of the world; PPO learns from the reward model's r(o, a), never from the world's own.
    2. Pairs of clips of what it did are sent to people: those on which the members of the reward model differ most.
    3. The members learn from all comparisons so far.       P(s1 better) = (1 - e) sigmoid(sum r(s1) - sum r(s2)) + e/2

Each member learns from a draw of its own of the comparisons (Poisson(1): about 1/e of them are kept from it), is
normalised to mean 0 and deviation 1 over the last episodes, and r is their mean. L2 follows the ratio of the loss on
what was kept to that on what was learned (1.1 to 1.5).

The policy learns only while the members do better than a coin on the comparisons that were kept from them (the 95 %
interval of how many they have in order lies above one half): what cannot tell which of two clips is preferred is scaled
noise, and a policy would follow it somewhere all the same.

The turns do not wait for each other, but for one thing: before it asks more, and a turn after the last asking, the run
waits until `wait` of what was asked is answered. Labels come in between two steps, as snapshots frozen while people
label; a checkpoint remembers which. In place of people a scripted annotator may answer, who is named as such in its
records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from trainers import records
from trainers.checkpoints import Stateful
from trainers.data import read_records
from trainers.data.clips import Clips, Comparison, Lessons, comparisons, lessons, regularised
from trainers.fit import anneal, descend
from trainers.maths.accuracy import wilson
from trainers.nn import digest, save
from trainers.nn.clips import ClipReward, ClipRewardConfig
from trainers.nn.gaussian import Gaussian, GaussianConfig
from trainers.records import canonical
from trainers.registry import Count, Minority, NonNegative, Positive, Several, Share
from trainers.run import Run
from trainers.sampling import clips as asking
from trainers.sampling.clips import Shown
from trainers.sampling.experience import Experience, Rollout, true_return
from trainers.sampling.proximal import improve

SEEN = 4096
"""Steps of the last episodes by which the reward model is normalised."""


@dataclass(frozen=True)
class Config:
    """What can be set."""

    world: str = "pendulum"
    """The world to act in."""
    task: str = ""
    """What is to be done there; empty for the world's first task."""
    annotator: Literal["people", "script", "coin"] = "people"
    """Who answers: the people of the study; a script that sees the world's own reward; or a coin, for a control."""
    comparisons: Count = 200
    """Most comparisons asked for."""
    first: Share = 0.3
    """Share of them asked at the beginning, about a policy that has learned nothing."""
    rounds: Count = 8
    """Times that more is asked; the rest is divided among them."""
    until: Share = 0.6
    """Share of the steps after which nothing more is asked."""
    wait: Share = 0.5
    """Share of what was asked that people must have answered before more is asked; the run waits for it."""
    length: Several = 25
    """Steps of a clip."""
    look: Count = 10
    """Pairs looked at for each that is asked about."""
    remember: Count = 64
    """Episodes that clips are cut from: the last ones."""
    members: Several = 3
    """Reward models that learn together."""
    noise: Minority = 0.1
    """e: the share of answers that are taken to be given at random."""
    slips: Minority = 0.0
    """The share of answers that the scripted annotator does give at random."""
    reward_lr: Positive = 3e-3
    """Learning rate of the reward models."""
    reward_steps: Count = 100
    """Updates of the reward models whenever labels have come in."""
    reward_batch: Count = 64
    """Comparisons in each."""
    l2: NonNegative = 0.01
    """Weight decay of the reward models at first; it then follows the ratio of their losses."""
    steps: Count = 100
    """Times that experience is gathered and learned from."""
    copies: Count = 32
    """Copies of the world acted in at once."""
    horizon: Count = 64
    """Steps of each copy between two updates."""
    epochs: Count = 5
    """Times that what was gathered is gone through."""
    minibatch: Count = 512
    """Steps of a copy in a step of the optimiser."""
    lr: Positive = 3e-3
    """The policy's learning rate at first; it falls to 0."""
    gamma: Share = 0.95
    """Discount a step."""
    lam: Share = 0.95
    """Lambda of the advantages: 0 trusts the critic, 1 what came."""
    clip_ratio: Share = 0.2
    """How far the probability of an action may move in one update and still be rewarded for it."""
    value_coef: NonNegative = 0.5
    """Weight of the critic's loss."""
    entropy_coef: NonNegative = 0.0
    """Weight of the entropy of actions."""
    width: Count = 64
    """Units in each hidden layer."""
    std: Positive = 1.0
    """Deviation of the policy's actions before training; an action goes from -1 to 1."""
    clip: Positive = 0.5
    """Longest gradient of the policy; a longer one is scaled down."""
    judged: Count = 50
    """Episodes, at the start and at the end, by which the world's own return is measured."""


def train(config: Config, run: Run) -> None:
    experience = Experience(config.world, config.task, config.copies, run.seed, config.remember)
    d, a = experience.observation, experience.action
    chance = torch.Generator().manual_seed(run.seed)
    policy = Gaussian(
        GaussianConfig(d, a, config.width, math.log(config.std), config.world, config.task), chance
    )
    model = ClipReward(
        ClipRewardConfig(d, a, config.members, config.width, config.world, config.task), chance
    )
    optimiser = torch.optim.Adam(policy.parameters(), lr=config.lr, eps=1e-5)
    judge = torch.optim.AdamW(model.parameters(), lr=config.reward_lr)
    shown = Shown(run.episodes, config.world, config.task, acting(run), config.annotator == "people")
    said = Said(config, run)
    plan = asked_by(config, -(-experience.copies.most_steps // config.horizon))
    closing = min(config.steps, max(plan) + max(1, (max(plan) - min(plan)) // config.rounds))
    before = true_return(policy, config.world, config.task, config.judged, run.seed)

    def ready(step: int) -> bool:
        """Whether enough of what was asked is answered for this step to be taken."""
        asked = run.memory.get("query/items", 0)
        more = step in plan or step == closing or not run.memory.get("learned")
        return config.annotator != "people" or not asked or not more or said.share() >= config.wait

    state: dict[str, Stateful] = {
        "policy": policy, "optimiser": optimiser, "experience": experience, "model": model, "judge": judge,
    }  # fmt: skip
    for step in run.steps(config.steps, state, ready):
        rollout = experience.gather(policy, config.horizon, run.generator)
        numbers: dict[str, float] = {}
        if new := said.new():
            numbers |= understand(model, judge, new, config, run)
            run.memory["learned"] = len(new.share)
        if run.memory.get("heard"):
            model.normalise(last_steps(experience, rollout))
            with torch.no_grad():
                rewards = model(rollout.steps)
            lr = run.knobs["lr"] * anneal(step, config.steps, 0.0)
            numbers |= improve(policy, optimiser, rollout, rewards, lr, config, run.generator)
            numbers |= {"episode/reward": rewards.mean().item()}
        policy.saw(rollout.observations.flatten(0, 1))
        if step in plan:
            ask(plan[step], step, model, experience, shown, config, run)
        if experience.returns:
            numbers["episode/return"] = sum(experience.returns) / len(experience.returns)
        seen = run.count("steps", rollout.rewards.numel())
        counted = {"episode/steps": seen, "query/items": run.memory.get("query/items", 0)}
        run.log(step, {**numbers, **counted, "reward/comparisons": run.memory.get("learned", 0)})

    after = true_return(policy, config.world, config.task, config.judged, run.seed)
    if config.annotator != "people":
        scripted = "".join(canonical(row) + "\n" for row in run.memory.get("answers", []))
        (run.home / "records.jsonl").write_text(scripted, encoding="utf-8")
    leave(policy, model, before, after, config, run)


class Said:
    """What was said of clips so far: by people, in the newest snapshot; and by the scripted annotator."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config, self.run = config, run
        self.clips = Clips(lambda: run.episodes)
        self._folder: Path | None = None
        self._read: list[Comparison] = []

    def by_people(self) -> list[Comparison]:
        if self.run.labels != self._folder:
            self._folder = self.run.labels
            self._read = (
                [] if self._folder is None else comparisons(read_records(self._folder, ("clip_pair",)))
            )
        return self._read

    def new(self) -> Lessons | None:
        """All comparisons so far, where there are any that the reward model has not learned from; else None."""
        scripted = self.run.memory.get("answers", [])
        known = [str(self.run.labels), len(scripted)]
        if known == self.run.memory.get("known"):
            return None
        self.run.memory["known"] = known
        every = [*self.by_people(), *comparisons(records.ClipPair.from_json(row) for row in scripted)]
        if not every:
            return None
        return lessons(every, self.clips, self.config.members, self.config.noise, self.run.seed)

    def share(self) -> float:
        """The share of what this run has asked that is answered."""
        asked = self.run.memory.get("pairs", [])
        answered = {f"{one.first} {one.second}" for one in self.by_people()}
        return sum(pair in answered for pair in asked) / len(asked) if asked else 1.0


def asked_by(config: Config, first: int) -> dict[int, int]:
    """Step -> how many comparisons are asked for after it. `first` is the step after which there are whole episodes."""
    begin = round(config.first * config.comparisons)
    last = max(first + config.rounds, int(config.until * config.steps))
    plan, given = {first: begin}, 0
    for turn in range(1, config.rounds + 1):
        upto = (config.comparisons - begin) * turn // config.rounds
        plan[first + (last - first) * turn // config.rounds] = upto - given
        given = upto
    return {step: count for step, count in plan.items() if count}


def understand(
    model: ClipReward, judge: torch.optim.Optimizer, new: Lessons, config: Config, run: Run
) -> dict[str, float]:
    """The reward models learn from all comparisons so far. Returns what there is to log of it."""
    if not run.memory.get("learned"):
        model.see(new.steps[new.mask])
    decay = run.memory.get("l2", config.l2)
    for _ in range(config.reward_steps):
        rows = torch.randint(len(new.share), (config.reward_batch,), generator=run.generator)
        losses = new.losses(model.sums(new.steps[rows], new.mask[rows]), rows)
        loss = (new.often[:, rows] * new.weight[rows] * losses).sum() / new.weight[rows].sum()
        for group in judge.param_groups:
            group["weight_decay"] = decay
        descend(judge, [loss], config.reward_lr, 10.0)
    with torch.no_grad():
        sums = model.sums(new.steps, new.mask)
        learned, kept = (float(loss) for loss in new.both(new.losses(sums, range(len(new.share)))))
    run.memory["l2"] = regularised(decay, learned, kept)
    right, told = new.unseen(sums)
    run.memory["heard"] = told > 0 and wilson(right, told)[0] > 0.5
    margin = ((sums[..., 0] - sums[..., 1]) * (2 * new.share - 1)).mean(dim=0)
    found = {
        "reward/loss": learned,
        "reward/kept_loss": kept,
        "reward/kept_accuracy": right / max(told, 1),
        "reward/l2": decay,
        "reward/accuracy": float((margin[new.share != 0.5] > 0).float().mean()),
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def last_steps(experience: Experience, rollout: Rollout) -> Tensor:
    """[B, D + A] steps of the last episodes, evenly taken; of this stretch where none has ended yet."""
    if not experience.lived:
        return rollout.steps.flatten(0, 1)
    every = torch.cat([torch.from_numpy(one.steps) for one in experience.lived])
    return every[:: max(1, len(every) // SEEN)]


def ask(
    count: int, step: int, model: ClipReward, experience: Experience, shown: Shown, config: Config, run: Run
) -> None:
    """Asks about `count` pairs of clips: people, through the study; or the scripted annotator, at once."""
    found = asking.pieces(experience.lived, config.length, run.generator)
    judges = model if run.memory.get("learned") else None
    asked = asking.questions(found, judges, count, config.look, run.generator)
    begun = run.memory.get("query/items", 0)
    items = [
        asking.item(run, shown, one, begun + number, {"run": run.spec.run, "step": step})
        for number, one in enumerate(asked)
    ]
    run.count("query/items", len(items))
    run.memory["pairs"] = [*run.memory.get("pairs", []), *(one["external_id"] for one in items)]
    if config.annotator == "people":
        asking.send(run, items, step)
        return
    answers = asking.answered(items, asked, config.annotator, config.slips, run.generator)
    run.memory["answers"] = [*run.memory.get("answers", []), *answers]


def acting(run: Run) -> Mapping[str, Any]:
    """Which policy acted, as episodes say it."""
    return {"name": f"run {run.spec.run}" if run.spec.run else "PPO from preferences", "run": run.spec.run}


def leave(policy: Gaussian, model: ClipReward, before: float, after: float, config: Config, run: Run) -> None:
    """The policy and the reward model, and what the run found out."""
    learned = int(run.memory.get("learned", 0))
    about = {"world": config.world, "task": config.task, "comparisons": learned}
    for kind, made, more in (
        ("reward_model", model, {}),
        ("robot_policy", policy, {"return": after}),
    ):
        path = save(made, run.home / kind)
        run.artifact(kind, kind, path, config.steps, {"digest": digest(path), **about, **more})
    who = {"people": "people", "script": "a scripted annotator", "coin": "a coin: a control"}[
        config.annotator
    ]
    of = f"mean of {config.judged} episodes that are the same before and after"
    readings: dict[str, Any] = {
        "comparisons": {"label": "Comparisons learned from", "value": learned},
        "return_before": {"label": f"The world's own return before, {of}", "value": before},
        "return_after": {"label": f"The world's own return after, {of}", "value": after},
    }
    text = (
        f"{learned} comparisons by {who} took the world's own return from {before:.1f} to {after:.1f}; "
        "it was not learned from."
    )
    run.report({"readings": readings, "text": text})
