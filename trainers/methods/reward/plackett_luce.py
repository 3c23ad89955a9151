"""Plackett-Luce reward model (Luce 1959; Plackett 1975; on answers of a policy: Zhu et al. 2023, arXiv:2301.11270).

A scalar r(x, y) such that people order m answers as if they chose the best of all, then the best of the rest, and so
on, each with a probability in proportion to exp(r). For the order y_1, y_2, …, y_m:

    L = sum w [ sum_j ( log sum_{i >= j} exp r_i - r_j ) + centre (m - 1) (2 mean r)^2 ] / sum w (m - 1)

The answers of a tie stand in no order, so each of their orders counts, and all count alike: the term is the mean of
the loss over them. It needs no enumeration of orders: when s of g tied answers are still to be chosen, each subset of
that size is as likely to be what is left,

    sum over subsets A of the tie, not empty: 1 / C(g, |A|) log sum_{A and all below} exp r   -   sum of the tie's r

which is exact and has at most 2^9 - 1 terms, as nobody ranks more than nine answers. Answers without a rank are left
out. A ranking of two is a pair, and its loss is that of Bradley and Terry, tie or not. After training, scores are
shifted and scaled to mean 0 and variance 1 on the training answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, combinations
from math import comb, inf
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from trainers.checkpoints import HasState
from trainers.data import Batches, Lazy, Preference, flattened, preferences, read_records, split
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.nn import Encoded, RewardModel, digest, save
from trainers.records import Pair, Prompt, Ranking, Record
from trainers.registry import Count, NonNegative, Part, Positive, Share
from trainers.reports import learning, reward
from trainers.reports.learning import Curve
from trainers.run import Run
from trainers.sampling import scorers


@dataclass(frozen=True)
class Config:
    """What can be set."""

    backbone: Literal["sentence_encoder", "byte_transformer", "policy"] = "sentence_encoder"
    """What reads the text: a frozen sentence encoder whose features are computed once, so that only a head
    learns; or a model that learns as a whole: a small byte-level transformer from scratch, or the policy that the
    run names, where it has adapters these alone."""
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
    """Times to go through the rankings. More than a few and a reward model learns its annotators' noise."""
    batch_size: Count = 16
    """Rankings a step."""
    micro_batch: Count = 16
    """Rankings in memory at once; the step does not depend on it."""
    centre: NonNegative = 0.01
    """How strongly scores are held near 0."""
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


@dataclass(frozen=True)
class Order:
    """Answers to one prompt as a person ordered them: rank 1 is the best, and equal ranks are a tie."""

    prompt: Prompt
    answers: tuple[str, ...]
    ranks: tuple[int, ...]
    weight: float
    annotator: str


def train(config: Config, run: Run) -> None:
    train_part, kept = split(read_records(run.snapshot, ("ranking", "pair")), config.held_out)
    wanted, held_out = (flattened(part, orders) for part in (train_part, kept))
    everything = wanted + held_out
    learned, apart = range(len(wanted)), range(len(wanted), len(everything))
    labels, said = preferences(train_part), preferences(kept)
    judged = [i for i in range(len(said)) if said[i].decided]
    places = places_of(kept, len(wanted))[judged]
    model, twin = (
        scorers.fresh(run, config.backbone, config.d, config.layers, run.seed).eval() for _ in range(2)
    )  # eval: dropout off, also while training
    rows = encode(run, model, everything)
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    decisions = weights * torch.tensor([len(one.ranks) - 1 for one in everything], device=run.device)
    chance = random.Random(run.seed)
    ranks = {
        id(model): [one.ranks for one in everything],
        id(twin): [tuple(chance.sample(one.ranks, len(one.ranks))) for one in everything],
    }

    def loss(reader: RewardModel, batch: Sequence[int], tally: Tally | None = None) -> Iterator[Tensor]:
        whole = decisions[batch].sum()
        for part in parts(batch, config.micro_batch):
            scores = scores_of(reader, rows, part)
            order = [ranks[id(reader)][i] for i in part]
            yield (weights[part] * ranking_loss(scores, order, config.centre)).sum() / whole
            if tally is not None:
                margins = margins_of(scores, order)
                tally.add("accuracy", reward.right(margins))
                tally.add("margin", margins)
                for name in ("min_reward", "mean_reward", "max_reward"):
                    tally.add(
                        name, torch.cat([row[: len(one)] for row, one in zip(scores, order, strict=True)])
                    )

    @torch.no_grad()
    def margins(reader: RewardModel) -> Tensor:
        """[N] of the decided preferences held out."""
        found = []
        for part in parts(places.tolist(), 2 * config.micro_batch):
            better, worse = ([rows[one[0]][one[side]] for one in part] for side in (1, 2))
            found.append(reader(better) - reader(worse))
        return torch.cat(found) if found else torch.zeros(0)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        if not len(apart):
            return {}
        found, tally = margins(model), Tally()
        tally.add("eval_accuracy", reward.right(found))
        tally.add("eval_margin", found)
        tally.add("control/shuffled_accuracy", reward.right(margins(twin)))
        for part in parts(apart, config.micro_batch):
            best = scores_of(model, rows, part, -inf).argmax(dim=1).tolist()
            first = [ranks[id(model)][i][place] == 1 for i, place in zip(part, best, strict=True)]
            tally.add("eval_best_first", torch.tensor(first).double())
        value = sum(part.item() for part in loss(model, apart))
        return {"eval_loss": value, **tally.numbers()}

    optimiser, twin_optimiser = (
        adamw(one, config.weight_decay, config.policy_lr / config.lr) for one in (model, twin)
    )
    batches = Batches([sum(map(scorers.length, rows[i])) for i in learned], config.batch_size, run.seed)
    total = config.epochs * len(batches)
    learners: dict[str, HasState] = {
        "model": model,
        "twin": twin,
        "optimiser": optimiser,
        "twin_optimiser": twin_optimiser,
        "batches": batches,
    }
    for step in run.steps(total, learners):
        batch = next(batches)
        lr = run.knobs["lr"] * anneal(step, total, config.warmup)
        tally = Tally()
        taken = descend(optimiser, loss(model, batch, tally), lr, config.clip)
        descend(twin_optimiser, loss(twin, batch), lr, config.clip)
        run.log(step, {**taken, "epoch": batches.epoch, **tally.numbers()})
        if (step % config.eval_every == 0 or step == total) and (measured := evaluate()):
            run.log(step, measured)

    stated, control = (
        margins(model),
        margins(twin),
    )  # before scores are rescaled: calibration depends on the scale
    compared = said.at(judged)
    expected: Curve | str = learning.ELSEWHERE
    if config.backbone == "sentence_encoder":
        expected = curve_of(run, rows, labels, places_of(train_part, 0), compared, places)
    with torch.no_grad():
        scores = torch.cat(
            [model([row for i in part for row in rows[i]]) for part in parts(learned, config.micro_batch)]
        )
    model.normalise(scores.mean().item(), scores.std(correction=0).item())
    path = save(model, run.home / "reward_model")
    report = reward.findings(stated, control, compared, expected, run.seed)
    summary = {
        name: report["readings"][name]["value"]
        for name in ("accuracy", "ece_after", "temperature")
        if name in report["readings"]
    }
    meta = {
        "digest": digest(path),
        **summary,
        "backbone": config.backbone,
    }
    run.artifact("reward_model", "reward_model", path, total, meta)
    run.report({**report, "train": len(wanted)})


def orders(record: Record) -> list[Order]:
    """A ranking without its unranked answers, or a pair as a ranking of two.

    "Both bad" says neither which answer is better nor that they are alike, and yields nothing; nor do equal texts.
    """
    if isinstance(record, Ranking):
        ranked = [(text, rank) for text, rank in zip(record.answers, record.ranks, strict=True) if rank]
    elif isinstance(record, Pair) and record.outcome != "both_bad":
        ranked = [(record.chosen, 1), (record.rejected, 1 if record.outcome == "tie" else 2)]
    else:
        return []
    answers, ranks = zip(*ranked, strict=True)
    if not record.weight or len(set(answers)) == 1:
        return []
    return [Order(record.prompt, answers, ranks, record.weight, record.annotator)]


@cache
def stages(ranks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """What is chosen from while answers of these ranks are put in order: sets [S, m], and how often each counts [S]."""
    sets, counts = [], []
    for rank in sorted(set(ranks)):
        tied = [place for place, one in enumerate(ranks) if one == rank]
        for size in range(1, len(tied) + 1):
            for left in combinations(tied, size):
                sets.append([one > rank or place in left for place, one in enumerate(ranks)])
                counts.append(1 / comb(len(tied), size))
    return torch.tensor(sets), torch.tensor(counts, dtype=torch.float64)


def ranking_loss(scores: Tensor, ranks: Sequence[tuple[int, ...]], centre: float) -> Tensor:
    """[B] losses from scores [B, K] of the answers that `ranks` rank; columns past the last rank are padding."""
    found = [stages(one) for one in ranks]
    whose = torch.repeat_interleave(torch.tensor([len(counts) for _, counts in found])).to(scores.device)
    chosen_from = torch.cat([F.pad(sets, (0, scores.shape[1] - sets.shape[1])) for sets, _ in found])
    counts = torch.cat([counts for _, counts in found]).to(scores)
    sums = scores[whose].masked_fill(~chosen_from.to(scores.device), -inf).logsumexp(dim=1)
    sizes = torch.tensor([len(one) for one in ranks]).to(scores)
    ranked = torch.arange(scores.shape[1], device=scores.device) < sizes[:, None]
    taken = scores.masked_fill(~ranked, 0.0).sum(dim=1)
    losses = torch.zeros_like(taken).index_add(0, whose, counts * sums) - taken
    return losses + centre * (sizes - 1) * (2 * taken / sizes).square()


def places_of(part: Sequence[Record], first: int) -> Tensor:
    """[N, 3] of all that `preferences` finds in some records: number of its order, place there of the better answer,
    and of the other. The records' orders are numbered from `first`."""
    found, number = [], first - 1
    for record in part:
        for order in orders(record):
            number += 1
            at = {text: place for place, text in enumerate(order.answers)}
            found += [(number, at[one.better], at[one.worse]) for one in preferences([record])]
    return torch.tensor(found, dtype=torch.int64).view(-1, 3)


def encode(run: Run, model: RewardModel, wanted: Sequence[Order]) -> Sequence[list[Encoded]]:
    """The answers of each ranking as a reward model reads them."""
    rows = scorers.encode(
        run, model, flattened(wanted, lambda one: [(one.prompt, text) for text in one.answers])
    )
    ends = list(accumulate((len(one.answers) for one in wanted), initial=0))
    return Lazy(len(wanted), lambda number: list(rows[ends[number] : ends[number + 1]]))


def scores_of(
    reader: RewardModel, rows: Sequence[Sequence[Encoded]], part: Sequence[int], padding: float = 0.0
) -> Tensor:
    """[B, K] scores of the answers of some rankings, padded on the right, from one forward over all of them."""
    flat = reader([row for i in part for row in rows[i]])
    ends = list(accumulate(len(rows[i]) for i in part))
    each = torch.tensor_split(flat, ends[:-1])
    return pad_sequence(list(each), batch_first=True, padding_value=padding)


def margins_of(scores: Tensor, ranks: Sequence[tuple[int, ...]]) -> Tensor:
    """[N]: for every two answers of a ranking that are not tied, the better one's score less the other's."""
    found = [
        scores[row, one] - scores[row, other]
        for row, order in enumerate(ranks)
        for one, other in decided(order)
    ]
    return torch.stack(found) if found else scores.new_zeros(0)


def decided(ranks: tuple[int, ...]) -> list[tuple[int, int]]:
    """(place of the better answer, place of the worse) of all that are not tied."""
    return [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]


def curve_of(
    run: Run,
    rows: Sequence[Sequence[Encoded]],
    labels: Sequence[Preference],
    of_labels: Tensor,
    judged: Sequence[Preference],
    of_judged: Tensor,
) -> Curve | str:
    """What more labels would bring, seen as pairs; beside the preferences stand their `places_of`."""

    def differences(places: Tensor) -> Tensor:
        found = [rows[i][better][0] - rows[i][worse][0] for i, better, worse in places.tolist()]
        return torch.stack(found) if found else torch.zeros(0, 1)

    return learning.curve(differences(of_labels), labels, differences(of_judged), judged, run.seed)
