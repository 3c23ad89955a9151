"""KTO: Kahneman-Tversky optimization, from single answers (Ethayarajh et al. 2024, arXiv:2402.01306).

No pairs are needed: a thumb up says that an answer is worth more than what the policy says on average, a thumb down
that it is worth less. With r the implied reward and z0 a reference point, both in nats (Eq. 7 and 8):

    r(x, y) = log pi(y|x) - log pi_ref(y|x)          log pi(y|x) = sum_t log pi(y_t | x, y_<t)
    z0 = max(0, mean over the batch of r(x, y')),    y' an answer to another prompt; without a gradient
    L = sum w lambda_y (1 - sigmoid(beta s_y (r - z0))) / sum w
    s_y = +1, lambda_y = lambda_D for a desirable answer; -1, lambda_U for an undesirable one

z0 estimates KL(pi || pi_ref) from answers at hand, mismatched with prompts that they do not answer. Which y' goes with
which x is drawn once, from the training answers, so that the reference's log-probabilities of them are computed once
too; the paper takes the neighbour in the batch. Left out: more than one reference point, a prompt's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data import Batches, each, flattened, read_records, split
from trainers.fit import Tally, fit, parts
from trainers.nn import Policy, collate, digest, load_policy, save
from trainers.records import Correction, Pair, Prompt, Rating, Record
from trainers.registry import Count, NonNegative, Part, Positive, Share
from trainers.run import Run
from trainers.sampling import pairs
from trainers.sampling.truncation import Truncation


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-5
    """Learning rate after warm-up. A few 1e-7 for models of billions of parameters."""
    beta: Positive = 0.1
    """How soon a reward is large enough: the loss saturates beyond 1 / beta nats from the reference point."""
    desirable_weight: NonNegative = 1.0
    """lambda_D. With n_D desirable and n_U undesirable answers, keep lambda_D n_D / (lambda_U n_U) from 1 to 4/3."""
    undesirable_weight: NonNegative = 1.0
    """lambda_U. Raise it where bad answers are rare, or do more harm than good ones do good."""
    epochs: Count = 1
    """Times to go through the answers."""
    batch_size: Count = 32
    """Answers a step. The reference point is a mean over them: fewer than 8 make it noise."""
    micro_batch: Count = 32
    """Answers in memory at once; the step does not depend on it."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 0.0
    """AdamW's weight decay, on matrices."""
    clip: Positive = 1.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Part = 0.2
    """Share of the prompts kept from training, to measure on."""
    eval_every: Count = 20
    """Steps between two measurements on the held-out prompts."""


def train(config: Config, run: Run) -> None:
    policy = load_policy(run.input("policy"), run.device).eval()  # eval: dropout off, also while training
    train_part, kept = split(read_records(run.snapshot, ("rating", "pair", "correction")), config.held_out)
    wanted, held_out = flattened(train_part, opinions), flattened(kept, opinions)
    everything = wanted + held_out
    answers = each(everything, lambda one: policy.encode_pair(one.prompt, one.answer))
    truncation = Truncation(policy)
    for one, (x, y) in zip(everything, answers, strict=True):
        truncation.add(one.prompt, x, (y,))
    truncation.tell(run)
    others = mismatched((one.prompt for one in everything), len(wanted), run.seed)
    rows = each(range(len(answers)), lambda i: (*answers[i], answers[others[i]][1]))
    lengths = [len(y) for _, y, _ in rows[: len(wanted)]]
    batches = Batches(lengths, config.batch_size, run.seed)
    reference = pairs.reference_logps(run, policy, rows, batches, config.micro_batch, logps)  # [N, 2]
    desirable = torch.tensor([one.desirable for one in everything], device=run.device)
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    sides = torch.where(desirable, config.desirable_weight, config.undesirable_weight)

    def loss(batch: Sequence[int], tally: Tally, prefix: str = "") -> Iterator[Tensor]:
        whole = weights[batch].sum()
        z0 = reference_point(policy, rows, reference, batch, config.micro_batch)
        signs = margin_signs(desirable[batch])
        for part in parts(batch, config.micro_batch):
            logp = answer_logps(policy, [rows[i] for i in part])  # [B]
            ratios = logp - reference[part, 0]
            losses = value_loss(ratios, z0, desirable[part], config.beta)
            yield (weights[part] * sides[part] * losses).sum() / whole
            watch(tally, prefix, config.beta * ratios, logp, desirable[part], signs)
        if not prefix:
            tally.add("kl", z0)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        if not held_out:
            return {}
        tally = Tally()
        value = sum(part.item() for part in loss(range(len(wanted), len(everything)), tally, "eval_"))
        return {"eval_loss": value, **tally.numbers()}

    total = fit(run, policy, batches, loss, evaluate, config)

    path = save(policy, run.home / "policy")
    run.artifact("policy", "policy", path, total, {"digest": digest(path), "beta": config.beta})


def value_loss(ratios: Tensor, z0: Tensor, desirable: Tensor, beta: float) -> Tensor:
    """[B] losses from [B] log-ratios, the reference point [] and which of the answers are desirable [B]."""
    side = torch.where(desirable, 1.0, -1.0).to(ratios)
    return 1 - torch.sigmoid(beta * side * (ratios - z0))  # Eq. 7 and 8


@torch.no_grad()
def reference_point(
    policy: Policy, rows: Sequence[Row], reference: Tensor, batch: Sequence[int], size: int
) -> Tensor:
    """z0, of the whole batch however it is cut: one number for all of its answers."""
    ratios = [
        other_logps(policy, [rows[i] for i in part]) - reference[part, 1] for part in parts(batch, size)
    ]
    return torch.cat(ratios).mean().clamp(min=0)


def margin_signs(desirable: Tensor) -> Tensor | None:
    """[2] what the reward of an undesirable and of a desirable answer is multiplied by, so that the mean over the batch
    is the mean desirable reward less the mean undesirable one; None where the batch lacks one of them."""
    count, good = len(desirable), int(desirable.sum())
    if good in (0, count):
        return None
    return torch.tensor([-count / (count - good), count / good], device=desirable.device)


def watch(
    tally: Tally, prefix: str, rewards: Tensor, logp: Tensor, desirable: Tensor, signs: Tensor | None
) -> None:
    """TRL's numbers: chosen are the desirable answers, rejected the undesirable ones."""
    if signs is not None:
        tally.add(f"{prefix}rewards/margins", rewards * signs[desirable.long()])
    if not prefix:
        for side, name in ((desirable, "chosen"), (~desirable, "rejected")):
            tally.add(f"rewards/{name}", rewards[side])
            tally.add(f"logps/{name}", logp[side])


Row = tuple[Tensor, Tensor, Tensor]
"""One answer: prompt x, its answer y, and an answer y' to another prompt."""


def logps(policy: Policy, rows: Sequence[Row]) -> Tensor:
    """[B, 2]: log pi(y|x) and log pi(y'|x), sums over tokens."""
    return torch.stack([answer_logps(policy, rows), other_logps(policy, rows)], dim=1)


def answer_logps(policy: Policy, rows: Sequence[Row]) -> Tensor:
    """[B]: log pi(y|x)."""
    batch = collate(policy, [(x, y) for x, y, _ in rows])
    return policy.logp_tok(batch.x, batch.y).sum(dim=1)


def other_logps(policy: Policy, rows: Sequence[Row]) -> Tensor:
    """[B]: log pi(y'|x), of answers to other prompts."""
    batch = collate(policy, [(x, other) for x, _, other in rows])
    return policy.logp_tok(batch.x, batch.y).sum(dim=1)


class Opinion(NamedTuple):
    """What was said about one answer."""

    prompt: Prompt
    answer: str
    desirable: bool
    weight: float


def opinions(record: Record) -> list[Opinion]:
    """What a record says about single answers.

    A rating above the middle of its scale is desirable, one below it undesirable, in the mean over its criteria; one in
    the middle says neither. Of a pair the chosen answer is desirable and the rejected one is not; of two bad ones
    neither is; a tie says nothing. Of a correction the edited text is desirable and the original is not.
    """
    if isinstance(record, Rating):
        # From -1, the criterion's worst point, to 1, its best.
        places = [(2 * record.scores[one] - 1 - most) / (most - 1) for one, most in record.scale.items()]
        said = [(record.answer, sum(places) > 0)] if abs(sum(places)) > 1e-9 else []
    elif isinstance(record, Pair) and record.outcome != "tie":
        said = [(record.chosen, record.outcome == "chosen"), (record.rejected, False)]
    elif isinstance(record, Correction):
        said = [(record.edited, True), (record.original, False)]
    else:
        return []
    if not record.weight or (len(said) == 2 and said[0][0] == said[1][0]):
        return []
    return [Opinion(record.prompt, answer, good, record.weight) for answer, good in said]


def mismatched(prompts: Iterable[Prompt], training: int, seed: int) -> NDArray[np.int64]:
    """[N] for every row a training row with another prompt, drawn at random; the first `training` rows are those."""
    numbers: dict[Prompt, int] = {}
    asked = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts])
    if len(set(asked[:training].tolist())) < 2:
        raise ValueError(
            "KTO sets answers against prompts that they do not answer, and all of these answer one prompt. "
            "Label answers to at least two prompts, or train with direct/dpo."
        )
    chance = np.random.default_rng(seed)
    drawn = chance.integers(training, size=len(asked))
    while len(same := np.flatnonzero(asked[drawn] == asked)):
        drawn[same] = chance.integers(training, size=len(same))
    return drawn
