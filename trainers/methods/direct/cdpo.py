"""cDPO, the robust form: DPO when a known share of the labels is wrong (Chowdhury et al. 2024, arXiv:2403.00409).

If a share e of the labels is flipped at random, DPO fits the flipped probabilities. An average of the loss as labelled
and of the loss as if flipped, with these weights, has the clean loss as its expectation:

    l(h) = -log sigmoid(h)          h as in DPO: beta times the difference of the two log-ratios
    L = sum w [ (1 - e) l(h) - e l(-h) ] / (1 - 2 e) / sum w

Conservative DPO (Mitchell 2023) has + e l(-h) and no denominator: it is bounded, but aims at probabilities shrunk
towards one half, twice over when the labels are noisy already. This loss has no lower bound on a finite set of labels:
train once through them. Left out: the conservative form, fitting e to the labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.data import Batches, preferences, read_records, split
from trainers.fit import Tally, fit, parts
from trainers.nn import Policy, digest, load_policy, save
from trainers.registry import Count, Minority, NonNegative, Part, Positive, Share
from trainers.run import Run
from trainers.sampling import pairs


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-5
    """Learning rate after warm-up. A few 1e-7 for models of billions of parameters."""
    beta: Positive = 0.1
    """How closely to keep to the reference: higher is closer. Published values go from 0.01 to 0.6."""
    flips: Minority = 0.1
    """Share of the labels that are taken to be wrong. At 0 this is DPO. Two people who err independently at a
    rate of 0.11 agree on 80 % of pairs."""
    epochs: Count = 1
    """Times to go through the preferences."""
    batch_size: Count = 32
    """Preferences a step."""
    micro_batch: Count = 32
    """Preferences in memory at once; the step does not depend on it."""
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
    train_part, kept = split(read_records(run.snapshot, ("pair", "ranking", "correction")), config.held_out)
    wanted, held_out, rows, lengths = pairs.readable(run, policy, preferences(train_part), preferences(kept))
    everything = wanted + held_out
    batches = Batches(lengths[: len(wanted)].sum(dim=1).tolist(), config.batch_size, run.seed)
    reference = pairs.reference_logps(run, policy, rows, batches, config.micro_batch, logps)  # [N, 2]
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    decided = torch.tensor([one.decided for one in everything], device=run.device)

    def loss(batch: Sequence[int], tally: Tally, prefix: str = "") -> Iterator[Tensor]:
        whole = weights[batch].sum()
        for part in parts(batch, config.micro_batch):
            logp = logps(policy, [rows[i] for i in part])  # [B, 2]
            losses, rewards = preference_loss(logp, reference[part], config.beta, config.flips)
            yield (weights[part] * losses).sum() / whole
            sure = decided[part]
            pairs.watch(tally, prefix, rewards[sure], logp[sure])

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


def preference_loss(logp: Tensor, logp_ref: Tensor, beta: float, flips: float) -> tuple[Tensor, Tensor]:
    """[B] losses and [B, 2] implied rewards, from [B, 2] log-probabilities of (y_w, y_l)."""
    rewards = beta * (logp - logp_ref)
    h = rewards[:, 0] - rewards[:, 1]
    as_labelled, as_if_flipped = -F.logsigmoid(h), -F.logsigmoid(-h)
    return ((1 - flips) * as_labelled - flips * as_if_flipped) / (1 - 2 * flips), rewards


def logps(policy: Policy, rows: Sequence[pairs.Row]) -> Tensor:
    """[B, 2]: log pi(y_w|x) and log pi(y_l|x), sums over tokens."""
    return pairs.logp_tok(policy, rows).sum(dim=2).T
