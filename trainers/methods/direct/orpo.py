"""ORPO: odds ratio preference optimization (Hong et al. 2024, arXiv:2403.07691).

Fine-tuning on the better answers and preferring them in one stage, without a reference (Eq. 6 and 7):

    P(y|x) = exp( 1/|y| sum_t log pi(y_t | x, y_<t) )         odds(y) = P(y) / (1 - P(y))
    L_SFT = -sum w sum_t log pi(y_w,t | x, y_w,<t) / sum w |y_w|
    L_OR = -sum w log sigmoid( log odds(y_w) - log odds(y_l) ) / sum w
    L = L_SFT + beta L_OR

P is the geometric mean over an answer's tokens, the end included; beta is the paper's lambda. The fine-tuning term is
normalised by the tokens of the whole batch and reads answers, not prompts. Left out: nothing.
"""

from __future__ import annotations

import math
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
    beta: NonNegative = 0.1
    """The paper's lambda: weight of the odds-ratio term beside the fine-tuning on better answers."""
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
    weights = torch.tensor([one.weight for one in everything], device=run.device)
    decided = torch.tensor([one.decided for one in everything], device=run.device)

    def loss(batch: Sequence[int], tally: Tally, prefix: str = "") -> Iterator[Tensor]:
        whole = weights[batch].sum()
        whole_tokens = (weights[batch] * lengths[batch, 0]).sum()
        for part in parts(batch, config.micro_batch):
            logp = logps(policy, [rows[i] for i in part])  # [B, 2]
            mean_logp = logp / lengths[part]
            losses, log_odds = odds_ratio_loss(mean_logp)
            nll = -(weights[part] * logp[:, 0]).sum() / whole_tokens
            yield nll + config.beta * (weights[part] * losses).sum() / whole
            sure = decided[part]
            pairs.watch(tally, prefix, config.beta * mean_logp[sure], logp[sure])
            if not prefix:
                tally.add("nll_loss", -logp[:, 0] / lengths[part, 0])
                tally.add("log_odds_ratio", -losses)
                tally.add("log_odds_chosen", log_odds)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        if not held_out:
            return {}
        tally = Tally()
        value = sum(part.item() for part in loss(range(len(wanted), len(everything)), tally, "eval_"))
        return {"eval_loss": value, **tally.numbers()}

    batches = Batches(lengths[: len(wanted)].sum(dim=1).tolist(), config.batch_size, run.seed)
    total = fit(run, policy, batches, loss, evaluate, config)

    path = save(policy, run.home / "policy")
    run.artifact("policy", "policy", path, total, {"digest": digest(path), "beta": config.beta})


def odds_ratio_loss(mean_logp: Tensor) -> tuple[Tensor, Tensor]:
    """[B] losses and [B] log odds ratios, from [B, 2] mean log-probabilities of the tokens of (y_w, y_l)."""
    log_odds = mean_logp - log1mexp(mean_logp)
    ratio = log_odds[:, 0] - log_odds[:, 1]
    return -F.logsigmoid(ratio), ratio  # Eq. 7


def log1mexp(logp: Tensor) -> Tensor:
    """log(1 - exp(logp)) for logp <= 0: neither form of it is exact on both sides of -ln 2 (Maechler 2012)."""
    logp = logp.clamp(max=-1e-6)  # an answer that is certain has infinite odds; cut at a million to one
    near = logp > -math.log(2)
    # Each form sees only values it can read: a gradient of the other would be 0 times infinity.
    high, low = torch.where(near, logp, -0.5), torch.where(near, -1.0, logp)
    return torch.where(near, torch.log(-torch.expm1(high)), torch.log1p(-torch.exp(low)))


def logps(policy: Policy, rows: Sequence[pairs.Row]) -> Tensor:
    """[B, 2]: log pi(y_w|x) and log pi(y_l|x), sums over tokens."""
    return pairs.logp_tok(policy, rows).sum(dim=2).T
