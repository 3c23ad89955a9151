"""Rewards from comparisons of clips (Christiano et al. 2017, arXiv:1706.03741, section 2.2.3).

    P(s1 better than s2) = (1 - e) sigmoid( sum_t r(o1_t, a1_t) - sum_t r(o2_t, a2_t) ) + e / 2           Eq. 1
    L = - sum w [ mu log P(s1 better) + (1 - mu) log P(s2 better) ] / sum w                               Eq. 2

mu is 1 or 0 for a preference and 1/2 for a tie; e is the share of answers that are taken to be given at random.

1. An ensemble: each member learns from its own draw of the comparisons, is normalised by itself, and r is the mean.
2. About 1/e of the comparisons are kept from each member (those that its draw leaves out), and the L2 coefficient
   follows the ratio of the loss on them to that on what was learned: between 1.1 and 1.5.
3. e = 10 %: people answer at random so often, however clear a case is.

Left out: pictures (a step is what the policy sees, and its action). Chosen here: draws are Poisson(1), so that they
stay as they are when comparisons come in; a preference said to be clear or much is a half or a third as likely to be
random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.checkpoints import HasState
from trainers.data import Batches, Preference, read_records
from trainers.data.clips import Clips, Comparison, apart, comparisons, lessons, regularised, worlds_of
from trainers.fit import Tally, anneal, descend
from trainers.maths.disagreement import conflict
from trainers.nn import digest, save
from trainers.nn.clips import ClipReward, ClipRewardConfig
from trainers.registry import Count, Minority, NonNegative, Part, Positive, Several, Share
from trainers.reports import ensemble, reward
from trainers.run import Run


@dataclass(frozen=True)
class Config:
    """What can be set."""

    members: Several = 3
    """Models in the ensemble."""
    noise: Minority = 0.1
    """e: the share of answers that are taken to be given at random."""
    width: Count = 64
    """Units in each of a member's two hidden layers."""
    lr: Positive = 3e-3
    """Learning rate after warm-up; it falls to 0."""
    epochs: Count = 60
    """Times that the comparisons are gone through."""
    batch_size: Count = 64
    """Comparisons a step."""
    l2: NonNegative = 0.01
    """Weight decay at first; it then follows the ratio of the losses."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    clip: Positive = 10.0
    """Longest gradient of the whole ensemble; a longer one is scaled down."""
    held_out: Part = 0.2
    """Share of the comparisons kept from all members, by the episodes they are cut from, to measure on."""
    eval_every: Count = 20
    """Steps between two measurements."""


def train(config: Config, run: Run) -> None:
    said = comparisons(read_records(run.snapshot, ("clip_pair",)))
    rows, kept = apart(said, config.held_out)
    if not rows:
        raise ValueError(
            f"None of {len(said)} comparisons is left to learn from: they say neither which clip is better nor that "
            "they are alike, or their episodes are held out. Compare more clips, or set held_out to 0."
        )
    clips = Clips(lambda: run.episodes)
    learned = [said[row] for row in rows]
    judged = [said[row] for row in kept if said[row].decided]
    model, twin = (fresh(config, run, clips, learned, number) for number in range(2))
    taught = lessons(learned, clips, config.members, config.noise, run.seed)
    shuffled = torch.rand(len(learned), generator=torch.Generator().manual_seed(run.seed)) < 0.5
    coin = torch.where(shuffled, 1 - taught.share, taught.share)
    model.see(taught.steps[taught.mask])
    twin.see(taught.steps[taught.mask])
    batches = Batches([1] * len(learned), config.batch_size, run.seed)
    total = config.epochs * len(batches)
    learners = {"model": model, "twin": twin}
    optimisers = {name: torch.optim.AdamW(one.parameters(), lr=config.lr) for name, one in learners.items()}

    def loss(one: ClipReward, part: Sequence[int], tally: Tally | None = None) -> Tensor:
        """The weighted mean over comparisons, summed over members."""
        share = coin if one is twin else taught.share
        lesson = type(taught)(taught.steps, taught.mask, share, taught.weight, taught.noise, taught.often)
        sums = one.sums(taught.steps[part], taught.mask[part])
        if tally is not None:
            margins = margin(sums, share[part])
            tally.add("accuracy", reward.right(margins))
            tally.add("margin", margins)
        counted = taught.often[:, part] * taught.weight[part] * lesson.losses(sums, part)
        return counted.sum() / taught.weight[part].sum()

    @torch.no_grad()
    def losses() -> tuple[float, float]:
        """(on what members learned from, on what was kept from them)"""
        found = taught.losses(model.sums(taught.steps, taught.mask), range(len(learned)))
        on, off = taught.both(found)
        return float(on), float(off)

    @torch.no_grad()
    def margins_of(one: ClipReward) -> Tensor:
        """[N, B] of the decided comparisons held out, a row a member."""
        if not judged:
            return torch.zeros(config.members, 0)
        steps, mask = clips.stack(judged)
        sums = one.sums(steps, mask)
        return (sums[..., 0] - sums[..., 1]) * torch.tensor([2 * said.share - 1 for said in judged])

    state: dict[str, HasState] = {
        **learners,
        **{f"optimiser-{name}": one for name, one in optimisers.items()},
        "batches": batches,
    }
    for step in run.steps(total, state):
        lr = run.knobs["lr"] * anneal(step, total, config.warmup)
        tally, part = Tally(), next(batches)
        decay = run.memory.get("l2", config.l2)
        numbers: dict[str, float] = {}
        for name, one in learners.items():
            for group in optimisers[name].param_groups:
                group["weight_decay"] = decay
            done = descend(
                optimisers[name], [loss(one, part, tally if one is model else None)], lr, config.clip
            )
            numbers |= done if one is model else {}
        numbers["loss"] /= config.members
        run.log(step, {**numbers, "epoch": batches.epoch, **tally.numbers()})
        if step % config.eval_every == 0 or step == total:
            on, off = losses()
            run.memory["l2"] = regularised(decay, on, off)
            run.log(
                step, {**measured(margins_of(model), margins_of(twin)), "reward/l2": decay, **seen(on, off)}
            )

    stated, control = margins_of(model), margins_of(twin)
    model.normalise(taught.steps[taught.mask])
    path = save(model, run.home / "reward_model")
    report = reward.findings(
        stated.mean(dim=0),
        control.mean(dim=0),
        as_preferences(judged),
        "No learning curve: the ensemble would have to be trained anew at every size.",
        run.seed,
        "held-out episodes",
    )
    for name in [name for name in report["readings"] if name == "longer_answer" or "/length/" in name]:
        del report["readings"][name]  # the names of clips have a length that says nothing
    readings, text = ensemble.findings(stated)
    known = {
        name: one["value"] for name, one in report["readings"].items() if name in ("accuracy", "ece_after")
    }
    meta = {"digest": digest(path), "world": model.config.world, "members": config.members, **known}
    run.artifact("reward_model", "reward_model", path, total, meta)
    run.report(
        {
            **report,
            "readings": {**report["readings"], **readings},
            "text": f"{report['text']} {text}".strip(),
            "train": len(learned),
        }
    )


def fresh(config: Config, run: Run, clips: Clips, learned: Sequence[Comparison], number: int) -> ClipReward:
    """An ensemble that has learned nothing, for the world that the clips are of."""
    places = worlds_of(run.episodes, learned)
    if len(places) > 1:
        raise ValueError(
            f"The clips are of {' and '.join(sorted(f'{world} ({task})' for world, task in places))}. One reward model "
            "learns one task: freeze a study that asks about one."
        )
    world, task = places.pop()
    d, a = clips.widths(learned[0].first)
    chance = torch.Generator().manual_seed(2 * run.seed + number)
    return ClipReward(ClipRewardConfig(d, a, config.members, config.width, world, task), chance)


def margin(sums: Tensor, share: Tensor) -> Tensor:
    """[B'] of the decided comparisons: the better clip's sum less the other's, the members' mean."""
    return ((sums[..., 0] - sums[..., 1]) * (2 * share - 1)).mean(dim=0)[share != 0.5]


def measured(stated: Tensor, control: Tensor) -> dict[str, float]:
    """Numbers of what was held out, from margins [N, B]; none where nothing decided was."""
    if not stated.numel():
        return {}
    tally = Tally()
    tally.add("eval_accuracy", reward.right(stated.mean(dim=0)))
    tally.add("eval_margin", stated.mean(dim=0))
    tally.add("control/shuffled_accuracy", reward.right(control.mean(dim=0)))
    tally.add("ensemble/disagreement", conflict(stated))
    return tally.numbers()


def seen(on: float, off: float) -> dict[str, float]:
    """The two losses that the L2 coefficient follows; what no member was kept from has none."""
    return {"reward/loss": on} | ({"reward/kept_loss": off} if off == off else {})


def as_preferences(judged: Sequence[Comparison]) -> list[Preference]:
    """Decided comparisons as reward models' report reads them. Those of the same two episodes are not independent."""
    found: list[Any] = []
    for one in judged:
        prompt = " ".join(sorted(text.split(":")[1] for text in (one.first, one.second)))
        found.append(
            Preference(
                prompt, one.better, one.worse, one.weight, True, one.annotator, one.strength, one.source
            )
        )
    return found
