"""Bradley-Terry reward model (Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155).

A scalar r(x, y) such that the probability of preferring y_w to y_l is sigmoid(h), h = r(x, y_w) - r(x, y_l):

    L = sum w [ -(1 - e) log sigmoid(h - m) - e log sigmoid(-h - m) + centre (r_w + r_l)^2 ] / sum w

with w the weight of the annotator's label, e the share of labels taken to be wrong, and m = margin (strength - 1),
so that answers said to be much better are kept further apart (Touvron et al. 2023, arXiv:2307.09288, equation 2). The
likelihood fixes r only up to a constant, which the last term holds near 0 (Eisenstein et al. 2023, arXiv:2312.09244).
After training, scores are shifted and scaled to mean 0 and variance 1 on the training answers, so that a KL
coefficient means the same whatever scored.

A tie is both orders at half its weight, which says only that scores are close; or an outcome of its own, with a
threshold that is learned with the scores (Rao and Kupper 1967; Davidson 1970: `maths/ties.py`).

Beside the model a twin is trained in the same way on labels drawn by a coin. What it gets right on held-out
prompts is what the split leaks. Left out: ensembles; fitting how reliable annotators are (their weights say it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.checkpoints import HasState
from trainers.data import Batches, preferences, read_records, split
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.accuracy import calibration_error
from trainers.maths.ties import davidson, log_threshold, rao_kupper
from trainers.nn import Encoded, RewardModel, digest, save
from trainers.registry import Count, Minority, NonNegative, Part, Positive, Share
from trainers.reports import learning
from trainers.reports.reward import findings, right
from trainers.run import Run
from trainers.sampling import scorers


@dataclass(frozen=True)
class Config:
    """What can be set."""

    backbone: Literal["sentence_encoder", "tuned_encoder", "byte_transformer", "policy"] = "sentence_encoder"
    """What reads the text: a frozen sentence encoder whose features are computed once, so that only a head learns;
    the same encoder with its last layer learning too; or a model that learns as a whole: a small byte-level
    transformer from scratch, or the policy that the run names, where it has adapters these alone."""
    d: Count = 64
    """Width of the byte transformer that learns from scratch."""
    layers: Count = 2
    """Blocks of the byte transformer that learns from scratch."""
    lr: Positive = 1e-3
    """Learning rate after warm-up; it falls to 0."""
    policy_lr: Positive = 1e-5
    """Learning rate of the weights of a Hugging Face policy to start from, which do not decay; `lr` is its head's. A
    few 1e-6 for models of billions of parameters, 1e-4 for adapters."""
    epochs: Count = 5
    """Times to go through the preferences. More than a few and a reward model learns its annotators' noise."""
    batch_size: Count = 32
    """Preferences a step."""
    micro_batch: Count = 32
    """Preferences in memory at once; the step does not depend on it."""
    ties: Literal["both_orders", "rao_kupper", "davidson"] = "both_orders"
    """What a tie is: both orders at half the weight; or an outcome of its own, for scores within a threshold
    (rao_kupper) or as likely as some multiple of the mean of both wins (davidson)."""
    margin: NonNegative = 0.0
    """By how much further apart scores are to be for each step of strength above "slightly better"."""
    smoothing: Minority = 0.0
    """Share of the labels that are taken to be wrong, below one half. 0.1 is usual for hasty labels."""
    centre: NonNegative = 0.01
    """How strongly scores are held near 0."""
    control: bool = True
    """Whether a twin is trained beside the model on labels drawn by a coin, to show what the split leaks. It costs
    as much as the model."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 3.0
    """AdamW's weight decay, on matrices. Strong, so that a few epochs too many do no harm."""
    clip: Positive = 1.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Part = 0.2
    """Share of the prompts kept from training, to measure on."""
    eval_every: Count = 20
    """Steps between two measurements on the held-out prompts."""


def train(config: Config, run: Run) -> None:
    train_part, kept = split(read_records(run.snapshot, ("pair", "ranking", "correction")), config.held_out)
    wanted, held_out = preferences(train_part), preferences(kept)
    everything = wanted + held_out
    seen, unseen = range(len(wanted)), range(len(wanted), len(everything))
    model, *twins = (
        scorers.fresh(run, config.backbone, config.d, config.layers, run.seed).eval()
        for _ in range(1 + config.control)
    )  # eval: dropout off, also while training
    rows = scorers.encode_pairs(run, model, everything)
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    decided = torch.tensor([one.decided for one in everything], device=run.device, dtype=torch.bool)
    strength = torch.tensor([one.strength for one in everything], device=run.device)
    judged = [i for i in unseen if decided[i]]
    coin = (torch.rand(len(rows), generator=torch.Generator().manual_seed(run.seed)) < 0.5).to(run.device)
    undecided = (weights * ~decided)[: len(wanted)].sum() / weights[: len(wanted)].sum()
    likelihood, its_twin = (Likelihood(config.ties, undecided.item()).to(run.device) for _ in range(2))

    def loss(reader: RewardModel, batch: Sequence[int], tally: Tally | None = None) -> Iterator[Tensor]:
        whole = weights[batch].sum()
        for part in parts(batch, config.micro_batch):
            scores = both(reader, rows, part)  # [B, 2]: of the better answer, of the other
            if reader in twins:
                scores = torch.where(coin[part, None], scores.flip(1), scores)
            said = its_twin if reader in twins else likelihood
            losses = preference_loss(scores, decided[part], strength[part], said, config)
            yield (weights[part] * losses).sum() / whole
            if tally is not None:
                observe(tally, scores, decided[part])

    @torch.no_grad()
    def margins(reader: RewardModel) -> Tensor:
        """[N] log-odds of the better answers, on the decided preferences held out."""
        found = [both(reader, rows, part) for part in parts(judged, config.micro_batch)]
        h = torch.cat([scores[:, 0] - scores[:, 1] for scores in found]) if found else torch.zeros(0)
        return (its_twin if reader in twins else likelihood).log_odds(h)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        found = margins(model)
        if not len(found):
            return {}
        tally = Tally()
        tally.add("eval_accuracy", right(found))
        tally.add("eval_margin", found)
        tally.add("eval_ece", calibration_error(found))
        for twin in twins:
            tally.add("control/shuffled_accuracy", right(margins(twin)))
        value = sum(part.item() for part in loss(model, unseen))
        return {"eval_loss": value, **tally.numbers()}

    optimiser, *twin_optimisers = (
        adamw(one, config.weight_decay, config.policy_lr / config.lr) for one in (model, *twins)
    )
    for threshold, its_optimiser in zip((likelihood, its_twin), (optimiser, *twin_optimisers), strict=False):
        if threshold.ties != "both_orders":
            its_optimiser.add_param_group({"params": list(threshold.parameters()), "weight_decay": 0.0})
    batches = Batches([sum(map(scorers.length, rows[i])) for i in seen], config.batch_size, run.seed)
    total = config.epochs * len(batches)
    learners: dict[str, HasState] = {
        "model": model,
        "likelihood": likelihood,
        "its_twin": its_twin,
        "optimiser": optimiser,
        "batches": batches,
    }
    for twin, twin_optimiser in zip(twins, twin_optimisers, strict=True):
        learners |= {"twin": twin, "twin_optimiser": twin_optimiser}
    for step in run.steps(total, learners):
        batch = next(batches)
        lr = run.knobs["lr"] * anneal(step, total, config.warmup)
        tally = Tally()
        taken = descend(optimiser, loss(model, batch, tally), lr, config.clip)
        for twin, twin_optimiser in zip(twins, twin_optimisers, strict=True):
            descend(twin_optimiser, loss(twin, batch), lr, config.clip)
        run.log(step, {**taken, "epoch": batches.epoch, **tally.numbers()})
        if (step % config.eval_every == 0 or step == total) and (measured := evaluate()):
            run.log(step, measured)

    with torch.no_grad():
        scores = torch.cat([both(model, rows, part) for part in parts(seen, config.micro_batch)])
    curve: learning.Curve | str = learning.ELSEWHERE
    if config.backbone == "sentence_encoder":
        better, worse = (torch.stack([row[side][0] for row in rows]) for side in (0, 1))
        away = better - worse
        curve = learning.curve(away[: len(wanted)], wanted, away[judged], everything.at(judged), run.seed)
    # Before scores are rescaled: stated probabilities depend on the scale.
    control = margins(twins[0]) if twins else None
    report = findings(margins(model), control, everything.at(judged), curve, run.seed)
    model.normalise(scores.mean().item(), scores.std(correction=0).item())
    model.scale.eta.fill_(likelihood.eta)
    path = save(model, run.home / "reward_model")
    readings = report["readings"]
    meta = {
        "digest": digest(path),
        "backbone": config.backbone,
        **{
            name: readings[name]["value"]
            for name in ("accuracy", "ece_after", "temperature")
            if name in readings
        },
    }
    run.artifact("reward_model", "reward_model", path, total, meta)
    run.report({**report, "train": len(wanted)})


class Likelihood(nn.Module):
    """How likely each outcome is at a difference of scores; with ties as an outcome, their threshold is learned.

    `share` of the labels are ties. Without a tie, or without anything else, there is no threshold to learn, and a
    tie is both orders.
    """

    def __init__(self, ties: str, share: float) -> None:
        super().__init__()
        self.ties = ties if 0 < share < 1 else "both_orders"
        if self.ties != "both_orders":
            self.log_threshold = nn.Parameter(torch.tensor(log_threshold(ties, share)))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """(log P(first is better), log P(tie)), [B] each, of differences h [B].

        Where a tie is both orders, each half of it says that one answer is the better one.
        """
        if self.ties == "rao_kupper":
            return rao_kupper(h, self.log_threshold)
        if self.ties == "davidson":
            return davidson(h, self.log_threshold)
        return F.logsigmoid(h), F.logsigmoid(h)

    @property
    def eta(self) -> float:
        """What a model must know of its ties to say how sure it is of a decided pair: Rao and Kupper's threshold."""
        return self.log_threshold.exp().item() if self.ties == "rao_kupper" else 0.0

    def log_odds(self, h: Tensor) -> Tensor:
        """[B] of the first being better, where it is no tie: h itself, but for Rao and Kupper."""
        return self(h)[0] - self(-h)[0] if self.ties == "rao_kupper" else h


def preference_loss(
    scores: Tensor, decided: Tensor, strength: Tensor, likelihood: Likelihood, config: Config
) -> Tensor:
    """[B] losses from [B, 2] scores of (y_w, y_l). logsigmoid throughout, since log(1 + exp(.)) overflows."""
    h = scores[:, 0] - scores[:, 1]
    margin = config.margin * (strength - 1) * decided
    win, tie = likelihood(h - margin)
    flipped, _ = likelihood(-h - margin)
    said = (1 - config.smoothing) * win + config.smoothing * flipped
    return -torch.where(decided, said, tie) + config.centre * scores.sum(dim=1).square()


def both(reader: RewardModel, rows: Sequence[tuple[Encoded, Encoded]], part: Sequence[int]) -> Tensor:
    """[B, 2] scores of the better answers and of the others, from one forward over all of them."""
    return reader([rows[i][0] for i in part] + [rows[i][1] for i in part]).view(2, -1).T


def observe(tally: Tally, scores: Tensor, decided: Tensor) -> None:
    margins = (scores[:, 0] - scores[:, 1])[decided]
    tally.add("accuracy", right(margins))
    tally.add("margin", margins)
    for name in ("min_reward", "mean_reward", "max_reward"):
        tally.add(name, scores)
