"""GRPO: group relative policy optimization (Shao et al. 2024, arXiv:2402.03300), with what was mended since.

For each prompt draw y_1 … y_k from pi_old and score them; R_i = r(x, y_i) - penalty [y_i did not end]. An answer's
advantage is what sets it apart from its group, and every token of it has it (Eq. 3, no critic):

    A_i = (R_i - mean_j R_j) / (s + eps)              s: deviation of the batch, of the group, or 1
    rho_t = pi(y_t) / pi_old(y_t)                     k3 = ref/pi - 1 - log(ref/pi)
    L = sum_i sum_t [ -min(rho A, clip(rho, 1 - low, 1 + high) A) + beta rho k3 ] / (tokens of the batch)

What differs from the paper: a mean over all tokens of the batch, since a mean over answers of their own means weighs
a token of a long answer less (DAPO, arXiv:2503.14476, 3.3); low and high apart (there, 3.1); s of the batch by default,
since that of the group weighs prompts by how nearly all answers score the same (Dr.GRPO, arXiv:2503.20783, 3.1);
k3 times rho, without which its gradient is that of the reverse KL. Several epochs may be made over one buffer.
Policy, pi_old and reference are read at the sampling temperature. Left out: several rewards, resampling of
groups without a difference, entropy bonus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainers.checkpoints import Stateful
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.kl import corrected, k3
from trainers.maths.moments import centred
from trainers.maths.surrogate import clipped, importance
from trainers.nn import Policy, digest, load_policy, save
from trainers.registry import Count, NonNegative, Part, Positive, Several, Share, Whole
from trainers.run import Run
from trainers.sampling.rollouts import (
    Buffer,
    Rollouts,
    Scored,
    as_drawn,
    cuts,
    due,
    groups,
    minibatch,
    ratios,
    sampler_error,
)

EPS = 1e-4
"""Added to the deviation that advantages are divided by."""


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-4
    """Learning rate after warm-up. Around 1e-6 for models of billions of parameters."""
    kl_coef: NonNegative = 0.04
    """beta: what a nat of KL to the reference costs a token. 0.04 in the paper; often 0 where a rule is the reward."""
    steps: Count = 100
    """Steps of the optimiser."""
    prompts_per_step: Count = 8
    """Prompts in a buffer of samples."""
    k: Several = 4
    """Answers drawn for each prompt, at least 2: the group that each is compared with."""
    epochs: Count = 1
    """Times a buffer of samples is learned from."""
    minibatches: Count = 1
    """Steps in each such time; a buffer serves epochs * minibatches of them."""
    scale: Literal["batch", "group", "none"] = "batch"
    """Whose standard deviation the advantages are divided by."""
    clip_low: Share = 0.2
    """How far below 1 a token's ratio is still rewarded for falling."""
    clip_high: Positive = 0.28
    """How far above 1 a token's ratio is still rewarded for rising."""
    mask_truncated: bool = False
    """Learn nothing from answers that did not end: they leave the loss and what it is divided by."""
    max_new_tokens: Count = 128
    """Longest answer."""
    temperature: Positive = 1.0
    """Sampling temperature; log-probabilities are taken at it too."""
    missing_eos_penalty: NonNegative = 1.0
    """Taken from the reward of an answer that did not end within max_new_tokens."""
    micro_batch: Count = 64
    """Answers in memory at once; the step does not depend on it."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises; afterwards it falls to 0."""
    weight_decay: NonNegative = 0.0
    """AdamW's weight decay, on matrices."""
    clip: Positive = 1.0
    """Longest gradient; a longer one is scaled down."""
    held_out: Part = 0.2
    """Share of the prompts kept from training: those that the reward model was measured on."""
    watch: Whole = 8
    """Prompts whose answers are shown again and again while the policy learns."""
    watch_every: Count = 10
    """Steps between two such showings."""


def train(config: Config, run: Run) -> None:
    policy = load_policy(run.input("policy"), run.device).eval()  # eval: dropout off, also while training
    rollouts = Rollouts(run, config, policy)
    optimiser = adamw(policy, config.weight_decay)
    batches = rollouts.batches(config.prompts_per_step)
    buffer = Buffer(run.device)
    state: dict[str, Stateful] = {
        "policy": policy, "optimiser": optimiser, "batches": batches, "buffer": buffer
    }  # fmt: skip
    for step in run.steps(config.steps, state):
        if step == 1:
            rollouts.begin()
        tally, scored = Tally(), None
        if due(step, config.epochs, config.minibatches):
            scored = rollouts.draw(next(batches), config.k, run.generator)
            fill(buffer, rollouts, scored, run.knobs["kl_coef"], config, tally)
        rows = minibatch(step, len(buffer), config.epochs, config.minibatches, run.seed)
        losses = policy_loss(policy, buffer, rows, run.knobs["kl_coef"], config, tally, scored is not None)
        lr = run.knobs["lr"] * anneal(step, config.steps, config.warmup)
        taken = descend(optimiser, losses, lr, config.clip)

        run.log(step, {**taken, "epoch": batches.epoch, **rollouts.numbers(step, tally)})
        rollouts.show(step, scored)

    path = save(policy, run.home / "policy")
    run.artifact(
        "policy", "policy", path, config.steps, {"digest": digest(path), "kl_coef": run.knobs["kl_coef"]}
    )
    run.report(rollouts.report())


def fill(
    buffer: Buffer, rollouts: Rollouts, scored: Scored, beta: float, config: Config, tally: Tally
) -> None:
    """What the coming steps learn from: the samples, their advantages, and pi_old where the policy will have moved."""
    samples = scored.samples
    rewards = reward(scored, config.missing_eos_penalty)
    kept = samples.finished[:, None] if config.mask_truncated else torch.ones_like(samples.mask)
    held: dict[str, Tensor | None] = {
        "y": samples.y,
        "weights": samples.weights,
        "mask": samples.mask & kept,
        "ref": scored.logp_ref,
        "looked_at": scored.looked_at,
        "advantages": group_advantages(rewards.view(-1, config.k), config.scale).flatten(),
    }
    if config.epochs * config.minibatches > 1:
        old = rollouts.read(rollouts.policy, samples, cuts(len(samples.y), config.minibatches))
        sampler_error(tally, scored, old)
        held["old"] = old
    buffer.fill(samples.x, **held)
    rollouts.observe(tally, scored, rewards - beta * scored.kl)
    groups(tally, rewards.view(-1, config.k))
    tally.add("entropy", -samples.logp_tok[samples.mask])


def reward(scored: Scored, penalty: float) -> Tensor:
    """[N]: R_i, the score less what a missing end costs. The KL is in the loss."""
    unfinished = (~scored.samples.finished).to(scored.score.dtype)
    return scored.score - penalty * unfinished


def group_advantages(rewards: Tensor, scale: str) -> Tensor:
    """[B, k] -> [B, k]: A_i. Exactly 0 in a group of equal rewards, however large they are.

    torch's deviation: unbiased, and in two passes.
    """
    if scale == "none":
        return centred(rewards)
    deviation = rewards.std(dim=1, keepdim=True) if scale == "group" else rewards.std()
    return centred(rewards) / (deviation + EPS)


def grpo_loss(
    logp_tok: Tensor,
    old_logp_tok: Tensor,
    ref_logp_tok: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    kl_coef: float,
    clip_low: float,
    clip_high: float,
    tokens: Tensor | float,
) -> Tensor:
    """L as in the head of this file, over these rows, divided by `tokens`, those of the whole batch (a scalar).

    logp_tok, old_logp_tok, ref_logp_tok [B, T]: log-probabilities of the sampled tokens under the policy (with
    gradient), the sampler and the reference; advantages [B]; mask [B, T] bool, true on tokens to learn from.
    TRL's GRPOTrainer computes the same with loss_type="dapo", importance_sampling_level="token", epsilon=clip_low,
    epsilon_high=clip_high, beta=kl_coef, use_bias_correction_kl=True, its `num_items_in_batch` being `tokens`.
    """
    ratio = importance(logp_tok, old_logp_tok)
    losses = -clipped(ratio, advantages[:, None], clip_low, clip_high)
    if kl_coef:
        losses = losses + kl_coef * corrected(k3(logp_tok, ref_logp_tok), ratio)
    return (losses * mask).sum() / tokens


def policy_loss(
    policy: Policy,
    buffer: Buffer,
    rows: Sequence[int],
    beta: float,
    config: Config,
    tally: Tally,
    first: bool,
) -> Iterator[Tensor]:
    """Parts of L for these rows of the buffer; `first` on the samples of the policy as it is."""
    looked_at = buffer.get("looked_at")
    if looked_at is not None:  # it was drawn at a beta of 0; another one holds from the next draw on
        beta = 0.0
    tokens = buffer["mask"][rows].sum().clamp(min=1)
    for part in parts(rows, config.micro_batch):
        y, ref, mask, advantages = (buffer[name][part] for name in ("y", "ref", "mask", "advantages"))
        logp_tok = policy.logp_tok([buffer.x[i] for i in part], y, config.temperature)  # [b, T]
        logp_tok = as_drawn(logp_tok, buffer.get("weights"), part)
        old = buffer["old"][part] if "old" in buffer else logp_tok.detach()
        yield grpo_loss(
            logp_tok, old, ref, advantages, mask, kl_coef=beta, clip_low=config.clip_low,
            clip_high=config.clip_high, tokens=tokens,
        )  # fmt: skip
        known = mask if looked_at is None else mask & looked_at[part, None]
        observe(tally, logp_tok.detach(), old, ref, advantages, mask, known, config, first)


def observe(
    tally: Tally,
    logp_tok: Tensor,
    old: Tensor,
    ref: Tensor,
    advantages: Tensor,
    mask: Tensor,
    known: Tensor,
    config: Config,
    first: bool,
) -> None:
    """How far the policy has gone from pi_old, and from the reference where it is `known` [b, T]; how often too far."""
    ratio = importance(logp_tok, old)
    ratios(tally, ratio[mask], first)
    tally.add("kl", corrected(k3(logp_tok, ref), ratio)[known])
    low = (ratio < 1 - config.clip_low) & (advantages[:, None] < 0)
    high = (ratio > 1 + config.clip_high) & (advantages[:, None] > 0)
    tally.add("clip_ratio/low_mean", low[mask].float())
    tally.add("clip_ratio/high_mean", high[mask].float())
    tally.add("clip_ratio/region_mean", (low | high)[mask].float())
    some = mask.any(dim=1)
    share = mask.sum(dim=1).clamp(min=1)
    tally.add("clip_ratio/low_min", ((low & mask).sum(dim=1) / share)[some])
    tally.add("clip_ratio/high_max", ((high & mask).sum(dim=1) / share)[some])
