"""Edits as preferences: the edited answer over the one it was made from, the whole answers compared.

A person who rewrites an answer says two things: what they wrote is better, and what they found is worse. The pair goes
through DPO's loss (Rafailov et al. 2023, arXiv:2305.18290, Eq. 7):

    h = beta [ (log pi(y_w|x) - log pi_ref(y_w|x)) - (log pi(y_l|x) - log pi_ref(y_l|x)) ]
    L = -sum w log sigmoid(h) / sum w            y_w the edited answer, y_l the original, all of their tokens

Tokens that the edit left alone count on both sides, before the edit with the same context and so to no effect, behind
it with another. `correction/edits_masked` leaves them out. Nothing else differs between the two files.
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
from trainers.registry import Count, NonNegative, Part, Positive, Share
from trainers.run import Run
from trainers.sampling import pairs


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-5
    """Learning rate after warm-up. A few 1e-7 for models of billions of parameters."""
    beta: Positive = 0.1
    """How closely to keep to the reference: higher is closer. Published values go from 0.01 to 0.6."""
    epochs: Count = 1
    """Times to go through the edits."""
    batch_size: Count = 32
    """Edits a step."""
    micro_batch: Count = 32
    """Edits in memory at once; the step does not depend on it."""
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
    train_part, kept = split(read_records(run.snapshot, ("correction",)), config.held_out)
    wanted, held_out, rows, lengths = pairs.readable(run, policy, preferences(train_part), preferences(kept))
    everything = wanted + held_out
    batches = Batches(lengths[: len(wanted)].sum(dim=1).tolist(), config.batch_size, run.seed)
    reference = pairs.reference_logps(run, policy, rows, batches, config.micro_batch, logps)  # [N, 2]
    weights = torch.tensor([one.weight for one in everything], device=run.device)

    def loss(batch: Sequence[int], tally: Tally, prefix: str = "") -> Iterator[Tensor]:
        whole = weights[batch].sum()
        for part in parts(batch, config.micro_batch):
            logp = logps(policy, [rows[i] for i in part])  # [B, 2]
            losses, rewards = preference_loss(logp, reference[part], config.beta)
            yield (weights[part] * losses).sum() / whole
            pairs.watch(tally, prefix, rewards, logp)

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


def preference_loss(logp: Tensor, logp_ref: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """[B] losses and [B, 2] implied rewards, from [B, 2] log-probabilities of (y_w, y_l)."""
    rewards = beta * (logp - logp_ref)
    h = rewards[:, 0] - rewards[:, 1]
    return -F.logsigmoid(h), rewards  # Eq. 7


def logps(policy: Policy, rows: Sequence[pairs.Row]) -> Tensor:
    """[B, 2]: log pi(y_w|x) and log pi(y_l|x), sums over tokens."""
    return pairs.logp_tok(policy, rows).sum(dim=2).T
