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
from array import array
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
from trainers.data import Batches, Lazy, Preference, each, flattened, read_records, split
from trainers.data.snapshot import mark
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.disagreement import auroc
from trainers.nn import Encoded, digest, save
from trainers.nn.ordinal import OrdinalReward, Scaled
from trainers.records import Rating, Record
from trainers.registry import Count, NonNegative, Part, Positive, Share
from trainers.reports import learning, reward
from trainers.reports.learning import Curve
from trainers.run import Run
from trainers.sampling import scorers

Points = Mapping[Scaled, Tensor]
"""Scale -> [N] points, 0 where not judged on it."""
Comparisons = tuple[Sequence[Preference], tuple[Sequence[int], Sequence[int]]]
"""Preferences, with the rows of the ratings they follow from: of the better answers, and of the others."""


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
    given = by_scale(everything, run.device)
    model, twin = (fresh(config, run, cut(given, learned)) for _ in range(2))
    rows = scorers.encode(run, model, each(everything, lambda one: (one.prompt, one.answer)))
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    judgements = weights * sum((one > 0 for one in given.values()), torch.zeros_like(weights))
    places = shuffled(everything, len(wanted), run.seed)
    points = {model: given, twin: {scale: one[places] for scale, one in given.items()}}

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
            ordered = concordance(scores_of(reader, apart), cut(given, apart), reader.criteria)
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

    compared, (better, worse) = comparisons(held_out, len(wanted))
    stated, control = (
        reader.sharpness * (scores_of(reader, better) - scores_of(reader, worse)).mean(dim=1)
        for reader in (model, twin)
    )
    curve: Curve | str = learning.ELSEWHERE
    if config.backbone == "sentence_encoder":
        curve = curve_of(run, rows, comparisons(wanted), (compared, (better, worse)))
    scores = scores_of(model, learned).mean(dim=1)
    model.normalise(scores.mean().item(), scores.std(correction=0).item())
    path = save(model, run.home / "reward_model")
    report = reward.findings(stated, control, compared, curve, run.seed)
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
    readings = {**report["readings"], **criteria_of(model, cut(given, apart), scores_of(model, apart))}
    text = f"{report['text']} Counted are comparisons: two answers to one prompt that one person rated."
    run.report({**report, "readings": readings, "text": text, "train": len(wanted)})


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


def ratings(found: Sequence[Record]) -> Lazy[Rating]:
    return flattened(found, lambda one: [one] if isinstance(one, Rating) and one.weight else [])


def by_scale(found: Sequence[Rating], device: torch.device | str = "cpu") -> Points:
    """What was given on every criterion, with every number of points that it was judged on."""
    given: dict[Scaled, array[int]] = {}
    for row, one in enumerate(found):
        for name, points in one.scale.items():
            column = given.setdefault((name, points), array("q", bytes(8 * len(found))))
            column[row] = one.scores[name]
    return {scale: torch.tensor(given[scale], dtype=torch.int64, device=device) for scale in sorted(given)}


def cut(given: Points, rows: range) -> Points:
    """What was given in these rows, on the scales that somebody judged there."""
    found = {scale: points[rows.start : rows.stop] for scale, points in given.items()}
    return {scale: points for scale, points in found.items() if points.any()}


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


def fresh(config: Config, run: Run, given: Points) -> OrdinalReward:
    """An untrained model, whose thresholds say what shares of points were given."""
    reader = scorers.fresh(run, config.backbone, config.d, config.layers, run.seed)
    model = OrdinalReward(list(given), reader, run.seed).eval()  # eval: dropout off, also while training
    for (name, points), found in given.items():
        model.start_at((name, points), torch.bincount(found, minlength=points + 1)[1:])
    return model


# --- what the held-out prompts say ------------------------------------------------------------------


def concordance(scores: Tensor, found: Points, criteria: Sequence[str]) -> float | None:
    """How often, of two answers with different points on a scale, that with more scores higher; None without any."""
    right = count = 0.0
    for (name, _), points_given in found.items():
        if name not in criteria:
            continue
        one, given = scores[:, criteria.index(name)].cpu(), points_given.cpu()
        for points in sorted(set(given[given > 0].tolist()))[1:]:
            lower, higher = (given > 0) & (given < points), given == points
            area = auroc(one[lower | higher], higher[lower | higher])[0]
            right += area * int(lower.sum()) * int(higher.sum())
            count += int(lower.sum()) * int(higher.sum())
    return right / count if count else None


def comparisons(found: Sequence[Rating], first: int = 0) -> Comparisons:
    """Ratings of one prompt by one annotator on the same scales, where one got more. Rows count from `first`."""
    alike: dict[tuple[int, str, tuple[Scaled, ...]], list[tuple[int, float]]] = defaultdict(list)
    for row, one in enumerate(found):
        seen = mark(one.prompt), one.annotator, tuple(sorted(one.scale.items()))
        alike[seen].append((row, share_of_points(one)))
    better, worse = [], []
    for members in alike.values():
        for pair in combinations(members, 2):
            (more, most), (less, least) = sorted(pair, key=lambda one: -one[1])
            if most > least and found[more].answer != found[less].answer:
                better.append(more)
                worse.append(less)

    def preference(number: int) -> Preference:
        one, other = found[better[number]], found[worse[number]]
        weight = min(one.weight, other.weight)
        return Preference(one.prompt, one.answer, other.answer, weight, True, one.annotator, 1.0, "rating")

    rows = [first + row for row in better], [first + row for row in worse]
    return Lazy(len(better), preference), rows


def share_of_points(one: Rating) -> float:
    """The mean over criteria of the points given, 0 for the fewest and 1 for the most."""
    return sum((one.scores[name] - 1) / (points - 1) for name, points in one.scale.items()) / len(one.scale)


def criteria_of(model: OrdinalReward, found: Points, scores: Tensor) -> Mapping[str, object]:
    """Readings: how often two answers' points on each criterion are in the order of its scores."""
    readings: dict[str, object] = {}
    for name in model.criteria:
        given = {scale: points for scale, points in found.items() if scale[0] == name}
        value = concordance(scores[:, [model.criteria.index(name)]], given, [name])
        if value is not None:
            n = sum(int((points > 0).sum()) for points in given.values())
            readings[f"concordance/{name}"] = {"label": f"Answers in order of {name}", "value": value, "n": n}
    return readings


def curve_of(run: Run, rows: Sequence[Encoded], learned: Comparisons, held_out: Comparisons) -> Curve | str:
    """What more labels would bring, seen as comparisons of two rated answers."""

    def differences(places: tuple[Sequence[int], Sequence[int]]) -> Tensor:
        found = [rows[better][0] - rows[worse][0] for better, worse in zip(*places, strict=True)]
        return torch.stack(found) if found else torch.zeros(0, 1)

    (labels, of_labels), (judged, of_judged) = learned, held_out
    return learning.curve(differences(of_labels), labels, differences(of_judged), judged, run.seed)
