"""Ordinal reward model: ratings by criterion, as proportional odds (McCullagh 1980, section 2).

A score s_c(x, y) for each criterion c, and for each number K of points that it was judged on, thresholds
theta_1 < … < theta_{K-1}, such that

    P(points <= j) = sigmoid(theta_j - s_c(x, y))
    L = - sum w sum_c log [ sigmoid(theta_points - s_c) - sigmoid(theta_{points-1} - s_c) ] / sum w (criteria judged)

with theta_0 and theta_K infinite. The points are an order and no more: that 4 is as far above 3 as 2 above 1 is nowhere
supposed, as a regression on points would. Thumbs are K = 2, and a logistic regression. The reward is the mean of the
criteria's scores, which are all in logits; after training it is shifted and scaled to mean 0 and variance 1 on the
training answers. Left out: thresholds of each annotator's own.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.checkpoints import HasState
from trainers.data import Batches, Preference, read_records, split
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.disagreement import auroc
from trainers.nn import digest, save
from trainers.nn.ordinal import OrdinalReward, Scaled
from trainers.records import Prompt, Rating, Record
from trainers.registry import Count, NonNegative, Part, Positive, Share
from trainers.reports import reward
from trainers.run import Run
from trainers.sampling import scorers


@dataclass(frozen=True)
class Config:
    """What can be set."""

    backbone: Literal["sentence_encoder", "byte_transformer", "policy"] = "sentence_encoder"
    """What reads the text: a frozen sentence encoder whose features are computed once, so that only heads
    learn; or a model that learns as a whole: a small byte-level transformer from scratch, or the one that the run
    names as its policy."""
    d: Count = 64
    """Width of the byte transformer that learns from scratch."""
    layers: Count = 2
    """Blocks of the byte transformer that learns from scratch."""
    lr: Positive = 1e-3
    """Learning rate after warm-up; it falls to 0."""
    epochs: Count = 5
    """Times to go through the ratings. More than a few and a reward model learns its annotators' noise."""
    batch_size: Count = 32
    """Ratings a step."""
    micro_batch: Count = 32
    """Ratings in memory at once; the step does not depend on it."""
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
    train_part, kept = split(read_records(run.snapshot, ("rating",)), config.held_out)
    wanted, held_out = ratings(train_part), ratings(kept)
    everything = wanted + held_out
    learned, apart = range(len(wanted)), range(len(wanted), len(everything))
    model, twin = fresh(config, run, wanted), fresh(config, run, wanted)
    rows = scorers.encode(run, model, [one.prompt for one in everything], [one.answer for one in everything])
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    judgements = weights * torch.tensor([len(one.scores) for one in everything], device=run.device)
    points = {
        model: by_scale(everything, range(len(everything)), run.device),
        twin: by_scale(everything, shuffled(everything, len(wanted), run.seed), run.device),
    }

    def loss(reader: OrdinalReward, batch: Sequence[int], tally: Tally | None = None) -> Iterator[Tensor]:
        whole = judgements[batch].sum()
        for part in parts(batch, config.micro_batch):
            scores = reader.by_criterion([rows[i] for i in part])  # [B, C]
            total = scores.new_zeros(())
            for scale, given in points[reader].items():
                judged = given[part] > 0
                if scale not in reader.scales or not judged.any():
                    continue  # nothing to learn it from, or nobody judged it here
                one = scores[judged, reader.criteria.index(scale[0])]
                theta, found = reader.thresholds(scale), given[part][judged]
                total = total + (weights[part][judged] * ordinal_loss(one, found, theta)).sum()
                if tally is not None:
                    tally.add("rating/error", (predicted(one, theta) - found).abs().double())
            yield total / whole
            if tally is not None:
                for name in ("min_reward", "mean_reward", "max_reward"):
                    tally.add(name, scores.mean(dim=1))

    @torch.no_grad()
    def scores_of(reader: OrdinalReward, chosen: Sequence[int]) -> Tensor:
        """[N, C] of some ratings' answers."""
        found = [reader.by_criterion([rows[i] for i in part]) for part in parts(chosen, config.micro_batch)]
        return torch.cat(found) if found else torch.zeros(0, len(reader.criteria))

    def evaluate() -> dict[str, float]:
        if not len(apart):
            return {}
        tally = Tally()
        with torch.no_grad():
            value = sum(part.item() for part in loss(model, apart, tally))
        error = tally.numbers()["rating/error"]
        found = {"eval_loss": value, "eval_rating/error": error}
        for name, reader in (("eval_concordance", model), ("control/shuffled_concordance", twin)):
            ordered = concordance(scores_of(reader, apart), [everything[i] for i in apart], reader.criteria)
            found |= {name: ordered} if ordered is not None else {}
        return found

    optimiser, twin_optimiser = (adamw(one, config.weight_decay) for one in (model, twin))
    batches = Batches([scorers.length(rows[i]) for i in learned], config.batch_size, run.seed)
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

    compared, places = comparisons(held_out)
    places = places + len(wanted)
    stated, control = (
        reader.sharpness
        * (scores_of(reader, places[0].tolist()) - scores_of(reader, places[1].tolist())).mean(dim=1)
        for reader in (model, twin)
    )
    scores = scores_of(model, learned).mean(dim=1)
    model.normalise(scores.mean().item(), scores.std(correction=0).item())
    path = save(model, run.home / "reward_model")
    report = reward.findings(stated, control, compared, seed=run.seed)
    summary = {
        name: report["readings"][name]["value"]
        for name in ("accuracy", "ece_after", "temperature")
        if name in report["readings"]
    }
    meta = {
        "digest": digest(path),
        **summary,
        "backbone": config.backbone,
        "criteria": model.criteria,
    }
    run.artifact("reward_model", "reward_model", path, total, meta)
    found, text = criteria_of(model, [everything[i] for i in apart], scores_of(model, apart))
    readings = {**report["readings"], **found}
    run.report(
        {**report, "readings": readings, "text": f"{report['text']} {text}".strip(), "train": len(wanted)}
    )


def ordinal_loss(scores: Tensor, points: Tensor, thresholds: Tensor) -> Tensor:
    """[B] of -log P(points), from scores [B], points [B] from 1 to K, and rising thresholds [K - 1].

    With a < b the thresholds around the points, less the score: sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a)
    (1 - exp(a - b)), each factor of which has an exact logarithm where the difference would be 0.
    """
    ends = thresholds.new_tensor([inf])
    around = torch.cat([-ends, thresholds, ends])
    lower, upper = around[points - 1], around[points]
    apart = torch.log(-torch.expm1(lower - upper))
    return -(F.logsigmoid(upper - scores) + F.logsigmoid(scores - lower) + apart)


def predicted(scores: Tensor, thresholds: Tensor) -> Tensor:
    """[B]: the median of the points, the first whose P(points or fewer) is a half or more."""
    return 1 + (thresholds < scores[:, None]).sum(dim=1)


def ratings(found: Sequence[Record]) -> list[Rating]:
    return [one for one in found if isinstance(one, Rating) and one.weight]


def scales_of(found: Sequence[Rating]) -> list[Scaled]:
    """Every criterion with every number of points that it was judged on."""
    return sorted({(name, points) for one in found for name, points in one.scale.items()})


def by_scale(
    found: Sequence[Rating], takes: Sequence[int], device: torch.device | str = "cpu"
) -> dict[Scaled, Tensor]:
    """Scale -> [N] points, 0 where not judged on it; rating i is given those of rating takes[i]."""
    given = {scale: torch.zeros(len(found), dtype=torch.int64) for scale in scales_of(found)}
    for row, other in enumerate(takes):
        for name, points in found[other].scale.items():
            given[name, points][row] = found[other].scores[name]
    return {scale: points.to(device) for scale, points in given.items()}


def shuffled(found: Sequence[Rating], learned: int, seed: int) -> list[int]:
    """Rows in which ratings on the same scales, among the first `learned`, have changed places."""
    takes = list(range(len(found)))
    alike: dict[tuple[Scaled, ...], list[int]] = defaultdict(list)
    for row, one in enumerate(found[:learned]):
        alike[tuple(sorted(one.scale.items()))].append(row)
    chance = random.Random(seed)
    for rows in alike.values():
        for row, other in zip(rows, chance.sample(rows, len(rows)), strict=True):
            takes[row] = other
    return takes


def fresh(config: Config, run: Run, found: Sequence[Rating]) -> OrdinalReward:
    """An untrained model, whose thresholds say what shares of points were given."""
    reader = scorers.fresh(run, config.backbone, config.d, config.layers, run.seed)
    model = OrdinalReward(scales_of(found), reader, run.seed).eval()  # eval: dropout off, also while training
    for (name, points), given in by_scale(found, range(len(found))).items():
        model.start_at((name, points), torch.bincount(given, minlength=points + 1)[1:])
    return model


# --- what the held-out prompts say ------------------------------------------------------------------


def concordance(scores: Tensor, found: Sequence[Rating], criteria: Sequence[str]) -> float | None:
    """How often, of two answers with different points on a scale, that with more scores higher; None without any."""
    right = count = 0.0
    for (name, _), given in by_scale(found, range(len(found))).items():
        if name not in criteria:
            continue
        one = scores[:, criteria.index(name)].cpu()
        for points in sorted(set(given[given > 0].tolist()))[1:]:
            lower, higher = (given > 0) & (given < points), given == points
            area = auroc(one[lower | higher], higher[lower | higher])[0]
            right += area * int(lower.sum()) * int(higher.sum())
            count += int(lower.sum()) * int(higher.sum())
    return right / count if count else None


def comparisons(found: Sequence[Rating]) -> tuple[list[Preference], Tensor]:
    """Ratings of one prompt by one annotator on the same scales, where one got more: (preferences, their rows)."""
    alike: dict[tuple[Prompt, str, tuple[Scaled, ...]], list[int]] = defaultdict(list)
    for row, one in enumerate(found):
        alike[one.prompt, one.annotator, tuple(sorted(one.scale.items()))].append(row)
    compared, rows = [], []
    for (prompt, annotator, _), members in alike.items():
        for first, second in combinations(members, 2):
            better, worse = sorted((first, second), key=lambda row: -share_of_points(found[row]))
            texts = found[better].answer, found[worse].answer
            if share_of_points(found[better]) > share_of_points(found[worse]) and texts[0] != texts[1]:
                weight = min(found[better].weight, found[worse].weight)
                compared.append(Preference(prompt, *texts, weight, True, annotator, 1.0, "rating"))
                rows.append((better, worse))
    return compared, torch.tensor(rows, dtype=torch.int64).view(-1, 2).T


def share_of_points(one: Rating) -> float:
    """The mean over criteria of the points given, 0 for the fewest and 1 for the most."""
    return sum((one.scores[name] - 1) / (points - 1) for name, points in one.scale.items()) / len(one.scale)


def criteria_of(
    model: OrdinalReward, found: Sequence[Rating], scores: Tensor
) -> tuple[Mapping[str, object], str]:
    """(readings, text): how often two answers' points on each criterion are in the order of its scores."""
    readings: dict[str, object] = {}
    for name in model.criteria:
        value = concordance(scores[:, [model.criteria.index(name)]], found, [name])
        if value is not None:
            n = sum(name in one.scores for one in found)
            readings[f"concordance/{name}"] = {"label": f"Answers in order of {name}", "value": value, "n": n}
    said = "There is no learning curve: it counts comparisons, and these are ratings."
    return readings, said
