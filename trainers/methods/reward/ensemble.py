"""Reward ensemble: several Bradley-Terry models that differ by chance (Lakshminarayanan et al. 2017, arXiv:1612.01474).

N members, each with a start of its own and a draw of its own from the labelled prompts, as many as there are, with
replacement (Efron 1979). Prompts are drawn, not preferences: those of one prompt stand or fall together. Each member
learns by itself, from its own batches,

    L_i = sum w [ -log sigmoid(r_i(y_w) - r_i(y_l)) + centre (r_i(y_w) + r_i(y_l))^2 ] / sum w

and all of them in one loop. What they make is one reward model:

    r(x, y) = mean_i r_i(x, y) - pessimism std_i r_i(x, y)

low where they differ, so that a policy is not rewarded for leaving what was labelled (Coste et al. 2023,
arXiv:2310.02743). Heads on the frozen encoder have a convex loss, so any start would end alike where labels speak, and
what differs elsewhere is the start: it must be there to see that nothing was said (Osband et al. 2018,
arXiv:1806.03335). After training each member's mean on the training answers is set to 0, and the score is scaled to
mean 0 and variance 1 there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.checkpoints import HasState
from trainers.data import Batches, Preference, preferences, read_records, split
from trainers.data.snapshot import mark
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.disagreement import conflict
from trainers.nn import Encoded, RewardModel, digest, save
from trainers.nn.ensemble import EnsembleReward, beside, std
from trainers.registry import Count, NonNegative, Part, Positive, Several, Share
from trainers.reports import ensemble, learning, reward
from trainers.reports.learning import Curve
from trainers.run import Run
from trainers.sampling import scorers


@dataclass(frozen=True)
class Config:
    """What can be set."""

    members: Several = 8
    """Models in the ensemble, at least 2. On the sentence encoder one more costs a head, else a whole model."""
    pessimism: NonNegative = 1.0
    """k: how many of the members' standard deviations are taken from their mean score. 0 is the mean alone."""
    backbone: Literal["sentence_encoder", "byte_transformer", "policy"] = "sentence_encoder"
    """What reads the text: a frozen sentence encoder whose features are computed once, so that only heads
    learn; or a model a member that learns as a whole: a small byte-level transformer from scratch, or the policy
    that the run names, where it has adapters these alone."""
    d: Count = 64
    """Width of the byte transformers that learn from scratch."""
    layers: Count = 2
    """Blocks of the byte transformers that learn from scratch."""
    start: NonNegative = 1.0
    """How far apart heads on the sentence encoder start: the standard deviation of a score before training."""
    lr: Positive = 1e-3
    """Learning rate after warm-up; it falls to 0."""
    policy_lr: Positive = 1e-5
    """Learning rate of the weights of a Hugging Face policy to start from, which do not decay; `lr` is its head's. A
    few 1e-6 for models of billions of parameters, 1e-4 for adapters."""
    epochs: Count = 5
    """Times that a member goes through its draw of the preferences."""
    batch_size: Count = 32
    """Preferences a step, of each member."""
    micro_batch: Count = 32
    """Preferences in memory at once; the step does not depend on it."""
    centre: NonNegative = 0.01
    """How strongly scores are held near 0."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 3.0
    """AdamW's weight decay, on matrices. Strong, so that a few epochs too many do no harm."""
    clip: Positive = 1.0
    """Longest gradient of a member; a longer one is scaled down."""
    held_out: Part = 0.2
    """Share of the prompts kept from training, to measure on."""
    eval_every: Count = 20
    """Steps between two measurements on the held-out prompts."""


def train(config: Config, run: Run) -> None:
    train_part, kept = split(read_records(run.snapshot, ("pair", "ranking", "correction")), config.held_out)
    wanted, held_out = preferences(train_part), preferences(kept)
    everything = wanted + held_out
    apart = range(len(wanted), len(everything))
    *members, twin = fresh(config, run)  # the twin learns from a coin, and is no member
    rows = scorers.encode_pairs(run, twin, everything)
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    decided = torch.tensor([one.decided for one in everything], device=run.device, dtype=torch.bool)
    judged = [i for i in apart if decided[i]]
    coin = torch.rand(len(everything), generator=torch.Generator().manual_seed(run.seed)) < 0.5
    coin = coin.to(run.device)

    def loss(reader: RewardModel, batch: Sequence[int], tally: Tally | None = None) -> Iterator[Tensor]:
        whole = weights[batch].sum()
        for part in parts(batch, config.micro_batch):
            scores = both(reader, rows, part)  # [B, 2]: of the better answer, of the other
            if reader is twin:
                scores = torch.where(coin[part, None], scores.flip(1), scores)
            yield (weights[part] * preference_loss(scores, config.centre)).sum() / whole
            if tally is not None:
                margins = (scores[:, 0] - scores[:, 1])[decided[part]]
                tally.add("accuracy", reward.right(margins))
                tally.add("margin", margins)

    @torch.no_grad()
    def scores_of(reader: RewardModel, chosen: Sequence[int]) -> Tensor:
        """[B, 2] of some preferences."""
        found = [both(reader, rows, part) for part in parts(chosen, config.micro_batch)]
        return torch.cat(found) if found else torch.zeros(0, 2)

    def margins() -> Tensor:
        """[N, B] of the decided preferences held out, a row a member."""
        found = torch.stack([scores_of(member, judged) for member in members])
        return found[..., 0] - found[..., 1]

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        if not judged:
            return {}
        found, control = torch.stack([scores_of(one, judged) for one in members]), scores_of(twin, judged)
        opinions = found - found.mean(dim=(1, 2), keepdim=True)  # [N, B, 2]
        each = opinions[..., 0] - opinions[..., 1]
        tally = Tally()
        tally.add("eval_accuracy", reward.right(each.mean(dim=0)))
        tally.add("eval_margin", each.mean(dim=0))
        tally.add("control/shuffled_accuracy", reward.right(control[:, 0] - control[:, 1]))
        tally.add("ensemble/std", std(opinions))
        tally.add("ensemble/disagreement", conflict(each))
        losses = [sum(part.item() for part in loss(member, apart)) for member in members]
        return {"eval_loss": sum(losses) / len(losses), **tally.numbers()}

    learners = {**{f"member-{number}": member for number, member in enumerate(members)}, "twin": twin}
    optimisers = {
        name: adamw(one, config.weight_decay, config.policy_lr / config.lr) for name, one in learners.items()
    }
    lengths = [sum(map(scorers.length, row)) for row in rows]
    asked = [mark(one.prompt) for one in wanted]
    draws = {name: draw(asked, run.seed, number) for number, name in enumerate(learners)}
    batches = {
        name: Drawn(chosen, [lengths[i] for i in chosen], config.batch_size, run.seed + number)
        for number, (name, chosen) in enumerate(draws.items())
    }
    total = config.epochs * -(-len(wanted) // config.batch_size)
    state: dict[str, HasState] = {
        **learners,
        **{f"optimiser-{name}": one for name, one in optimisers.items()},
        **{f"batches-{name}": one for name, one in batches.items()},
    }
    for step in run.steps(total, state):
        lr = run.knobs["lr"] * anneal(step, total, config.warmup)
        tally, taken = Tally(), []
        for name, one in learners.items():
            watched = None if one is twin else tally
            done = descend(optimisers[name], loss(one, next(batches[name]), watched), lr, config.clip)
            taken += [] if one is twin else [done]
        mean = {name: sum(one[name] for one in taken) / len(taken) for name in taken[0]}
        epoch = sum(one.epoch for one in batches.values()) / len(batches)
        run.log(step, {**mean, "epoch": epoch, **tally.numbers()})
        if (step % config.eval_every == 0 or step == total) and (measured := evaluate()):
            run.log(step, measured)

    stated = margins()
    control = scores_of(twin, judged)
    for member in members:
        member.normalise(scores_of(member, range(len(wanted))).mean().item(), 1.0)  # log-odds stay log-odds
    model = EnsembleReward(members, config.pessimism).to(run.device)
    scores = scores_of(model, range(len(wanted)))
    model.normalise(scores.mean().item(), scores.std(correction=0).item())
    path = save(model, run.home / "reward_model")
    one_by_one = everything.at(judged)
    expected: Curve | str = learning.ELSEWHERE
    if config.backbone == "sentence_encoder":
        expected = curve_of(run, rows, wanted, one_by_one, judged)
    report = reward.findings(
        stated.mean(dim=0), control[:, 0] - control[:, 1], one_by_one, expected, run.seed
    )
    readings, text = ensemble.findings(stated)
    summary = {
        name: report["readings"][name]["value"]
        for name in ("accuracy", "ece_after", "temperature")
        if name in report["readings"]
    }
    meta = {
        "digest": digest(path),
        **summary,
        "backbone": config.backbone,
        "members": len(members),
    }
    run.artifact("reward_model", "reward_model", path, total, meta)
    run.report(
        {
            **report,
            "readings": {**report["readings"], **readings},
            "text": f"{report['text']} {text}".strip(),
            "train": len(wanted),
        }
    )


class Drawn(Batches):
    """Batches of some rows, each as often as it was drawn."""

    def __init__(self, rows: Sequence[int], lengths: Sequence[int], size: int, seed: int) -> None:
        super().__init__(lengths, size, seed)
        self.rows = rows

    def __next__(self) -> list[int]:
        return [self.rows[place] for place in super().__next__()]


def draw(asked: Sequence[Hashable], seed: int, member: int) -> list[int]:
    """The rows a member learns from: those of as many prompts as there are, drawn with replacement; `asked` is each
    row's prompt, or what tells it apart from others."""
    of_prompt: dict[Hashable, list[int]] = {}
    for row, prompt in enumerate(asked):
        of_prompt.setdefault(prompt, []).append(row)
    prompts = list(of_prompt)
    chance = torch.Generator().manual_seed((1_000_003 * seed + member) % 2**63)
    drawn = torch.randint(len(prompts), (len(prompts),), generator=chance).tolist()
    return [row for place in drawn for row in of_prompt[prompts[place]]]


def fresh(config: Config, run: Run) -> list[RewardModel]:
    """The members and the twin, untrained, each with a start of its own."""
    seeds = [(config.members + 1) * run.seed + number for number in range(config.members + 1)]
    if config.backbone != "sentence_encoder":
        return [scorers.fresh(run, config.backbone, config.d, config.layers, seed).eval() for seed in seeds]
    first = scorers.fresh(run, config.backbone, config.d, config.layers, run.seed).eval()
    found = [first, *(beside(first) for _ in seeds[1:])]
    for one, seed in zip(found, seeds, strict=True):
        for name, weight in one.named_parameters():
            if name.endswith("head.weight"):  # features have mean square 1, and so a score has this deviation
                chance = torch.Generator().manual_seed(seed)
                nn.init.normal_(weight, std=config.start * weight.shape[1] ** -0.5, generator=chance)
    return found


def preference_loss(scores: Tensor, centre: float) -> Tensor:
    """[B] losses from [B, 2] scores of (y_w, y_l)."""
    return -F.logsigmoid(scores[:, 0] - scores[:, 1]) + centre * scores.sum(dim=1).square()


def both(reader: RewardModel, rows: Sequence[tuple[Encoded, Encoded]], part: Sequence[int]) -> Tensor:
    """[B, 2] scores of the better answers and of the others, from one forward over all of them."""
    return reader([rows[i][0] for i in part] + [rows[i][1] for i in part]).view(2, -1).T


def curve_of(
    run: Run,
    rows: Sequence[tuple[Encoded, Encoded]],
    labels: Sequence[Preference],
    judged: Sequence[Preference],
    places: Sequence[int],
) -> Curve | str:
    """What more labels would bring a single head; `places` are the rows of what is judged."""

    def differences(chosen: Sequence[int]) -> Tensor:
        found = [rows[i][0][0] - rows[i][1][0] for i in chosen]
        return torch.stack(found) if found else torch.zeros(0, 1)

    return learning.curve(differences(range(len(labels))), labels, differences(places), judged, run.seed)
