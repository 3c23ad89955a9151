"""Bradley-Terry reward model (Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155).

A scalar r(x, y) such that the probability of preferring y_w to y_l is sigmoid(r(x, y_w) - r(x, y_l)):

    L = sum w [ -log sigmoid(r_w - r_l) + centre (r_w + r_l)^2 ] / sum w

with w the weight of the annotator's label; a tie counts as both orders at half of it. The likelihood fixes
r only up to a constant, which the small second term holds near 0 (Eisenstein et al. 2023, arXiv:2312.09244).
After training, scores are shifted and scaled to mean 0 and variance 1 on the training answers, so that a KL
coefficient means the same whatever scored.

Beside the model a twin is trained in the same way on labels drawn by a coin. What it gets right on held-out
prompts is what the split leaks. Left out: margins by strength, per-annotator reliability, ensembles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.checkpoints import HasState
from trainers.data import Batches, Preference, preferences, read_records, split
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.accuracy import calibration_error, wilson
from trainers.nn import Encoded, RewardModel, digest, save
from trainers.registry import Count, NonNegative, Positive, Share
from trainers.run import Run
from trainers.sampling import scorers


@dataclass(frozen=True)
class Config:
    """What can be set."""

    backbone: Literal["sentence_encoder", "byte_transformer"] = "sentence_encoder"
    """What reads the text: a frozen sentence encoder whose features are computed once, so that only a head
    learns; or a small byte-level transformer that learns as a whole."""
    d: Count = 64
    """Width of the byte transformer, where it does not start from a policy."""
    layers: Count = 2
    """Blocks of the byte transformer, where it does not start from a policy."""
    lr: Positive = 1e-3
    """Learning rate after warm-up; it falls to 0."""
    epochs: Count = 5
    """Times to go through the preferences. More than a few and a reward model learns its annotators' noise."""
    batch_size: Count = 32
    """Preferences a step."""
    micro_batch: Count = 32
    """Preferences in memory at once; the step does not depend on it."""
    centre: NonNegative = 0.01
    """How strongly scores are held near 0."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 3.0
    """AdamW's weight decay, on matrices. Strong, so that a few epochs too many do no harm."""
    clip: Positive = 1.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Share = 0.2
    """Share of the prompts kept from training, to measure on."""
    eval_every: Count = 20
    """Steps between two measurements on the held-out prompts."""


def train(config: Config, run: Run) -> None:
    train_part, kept = split(read_records(run.snapshot, ("pair", "ranking", "correction")), config.held_out)
    wanted, held_out = preferences(train_part), preferences(kept)
    everything = wanted + held_out
    model, twin = (
        scorers.fresh(run, config.backbone, config.d, config.layers, run.seed).eval() for _ in range(2)
    )  # eval: dropout off, also while training
    rows = encode(run, model, everything)
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    decided = torch.tensor([one.decided for one in everything], device=run.device)
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
                observe(tally, scores, decided[part])

    @torch.no_grad()
    def margins(reader: RewardModel) -> Tensor:
        """[N] on the decided preferences held out."""
        judged = [i for i in range(len(wanted), len(everything)) if everything[i].decided]
        found = [both(reader, rows, part) for part in parts(judged, config.micro_batch)]
        return torch.cat([scores[:, 0] - scores[:, 1] for scores in found]) if found else torch.zeros(0)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        found = margins(model)
        if not len(found):
            return {}
        tally = Tally()
        tally.add("eval_accuracy", right(found))
        tally.add("eval_margin", found)
        tally.add("eval_ece", calibration_error(found))
        tally.add("control/shuffled_accuracy", right(margins(twin)))
        value = sum(part.item() for part in loss(model, range(len(wanted), len(everything))))
        return {"eval_loss": value, **tally.numbers()}

    optimiser, twin_optimiser = (adamw(one, config.weight_decay) for one in (model, twin))
    batches = Batches(
        [sum(map(scorers.length, row)) for row in rows[: len(wanted)]], config.batch_size, run.seed
    )
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

    report = findings(
        margins(model), margins(twin), held_out
    )  # before scores are rescaled: ECE depends on the scale
    with torch.no_grad():
        scores = torch.cat(
            [both(model, rows, part) for part in parts(range(len(wanted)), config.micro_batch)]
        )
    model.normalise(scores.mean().item(), scores.std(correction=0).item())
    path = save(model, run.home / "reward_model")
    meta = {
        "digest": digest(path),
        "accuracy": report["readings"].get("accuracy"),
        "backbone": config.backbone,
    }
    run.artifact("reward_model", "reward_model", path, total, meta)
    run.report({**report, "train": len(wanted)})


def preference_loss(scores: Tensor, centre: float) -> Tensor:
    """[B] losses from [B, 2] scores of (y_w, y_l). logsigmoid, since log(1 + exp(.)) overflows."""
    return -F.logsigmoid(scores[:, 0] - scores[:, 1]) + centre * scores.sum(dim=1).square()


def encode(run: Run, model: RewardModel, wanted: Sequence[Preference]) -> list[tuple[Encoded, Encoded]]:
    """Each preference as a reward model reads it: (better, worse)."""
    asked = [one.prompt for one in wanted for _ in range(2)]
    rows = scorers.encode(run, model, asked, [text for one in wanted for text in (one.better, one.worse)])
    return list(zip(rows[::2], rows[1::2], strict=True))


def both(reader: RewardModel, rows: Sequence[tuple[Encoded, Encoded]], part: Sequence[int]) -> Tensor:
    """[B, 2] scores of the better answers and of the others, from one forward over all of them."""
    return reader([rows[i][0] for i in part] + [rows[i][1] for i in part]).view(2, -1).T


def right(margins: Tensor) -> Tensor:
    """[N]: 1 where the better answer scores higher, 0 where lower, one half where a coin would have to decide."""
    return (torch.sign(margins) + 1) / 2


def observe(tally: Tally, scores: Tensor, decided: Tensor) -> None:
    margins = (scores[:, 0] - scores[:, 1])[decided]
    tally.add("accuracy", right(margins))
    tally.add("margin", margins)
    for name in ("min_reward", "mean_reward", "max_reward"):
        tally.add(name, scores)


def findings(margins: Tensor, control: Tensor, held_out: Sequence[Preference]) -> dict[str, Any]:
    """What the held-out prompts say: accuracy with its interval, beside chance, a rule, and the control."""
    judged = [one for one in held_out if one.decided]
    if not judged:
        return {"readings": {}, "text": "No decided pair was held out: nothing can be said of other prompts."}
    longer = torch.tensor([len(one.better) - len(one.worse) for one in judged])
    readings = {
        "accuracy": share("Held-out accuracy", right(margins)),
        "chance": {"label": "Chance", "value": 0.5},
        "longer_answer": share("Rule: the longer answer", right(longer)),
        "shuffled_control": share("Control: trained on shuffled labels", right(control)),
        "ece": {"label": "Calibration error", "value": calibration_error(margins).item(), "n": len(judged)},
    }
    names = sorted({one.annotator for one in judged if one.annotator})
    if len(names) > 1:
        for name in names:
            theirs = torch.tensor([one.annotator == name for one in judged])
            readings[f"accuracy/{name}"] = share(f"Accuracy on {name}'s labels", right(margins)[theirs])
    one = readings["accuracy"]
    text = (
        f"Right on {one['value']:.1%} of {one['n']} decided pairs on held-out prompts "
        f"(95 % interval {one['low']:.1%} to {one['high']:.1%}); chance is 50 %."
    )
    return {"readings": readings, "text": text}


def share(label: str, rights: Tensor) -> dict[str, Any]:
    """A share with its Wilson 95 % interval."""
    low, high = wilson(rights.sum().item(), len(rights))
    return {
        "label": label,
        "value": rights.double().mean().item(),
        "low": low,
        "high": high,
        "n": len(rights),
    }
