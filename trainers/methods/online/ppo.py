"""PPO for language models, as PPO-max (Schulman et al. 2017, arXiv:1707.06347; Zheng et al. 2023, arXiv:2307.04964).

A token is an action. Answers are drawn from pi_old and scored; the KL to the reference is paid token by token:

    s = clip((r(x, y) - mean) / std, +-score_clip)            mean, std: of all scores so far
    r_t = -beta (log pi_old(y_t) - log pi_ref(y_t)) + [t last] (s - penalty [y did not end])
    A = GAE(r, V_old; gamma, lam), whitened over the buffer's tokens;  G = A before whitening + V_old
    L_pi = -sum_t min(rho_t A_t, clip(rho_t, 1 +- eps) A_t) / tokens               rho_t = pi(y_t) / pi_old(y_t)
    L_V  =  sum_t max((V_t - G_t)^2, (clip(V_t, V_old_t +- eps_v) - G_t)^2) / 2 / tokens

Scores are scaled before the KL is charged: otherwise a reward model of larger numbers silently switches the KL off.
The critic starts from the reward model where that reads the policy's tokens, and learns alone on the first buffers.
Several epochs are made over one buffer, which holds fresh samples only; what is read of it before the first step is the
first step's own reading where one piece holds it all. Optional: likelihood of demonstrations mixed
in (PPO-ptx, Ouyang et al. 2022, arXiv:2203.02155), a KL to aim at (Ziegler et al. 2019, arXiv:1909.08593). Policy,
pi_old and reference are read at the sampling temperature. Left out: entropy bonus, dual clipping, reward whitening.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from trainers import processes
from trainers.checkpoints import Stateful
from trainers.data import Batches, demonstrated
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.gae import gae
from trainers.maths.moments import Moments, merge, whiten
from trainers.maths.surrogate import clipped, clipped_value_loss, importance
from trainers.nn import Policy, RewardModel, collate, digest, load_policy, save
from trainers.nn.value import Critic, SharedCritic, alike, own_critic, shared_critic
from trainers.records import Record
from trainers.registry import Count, NonNegative, Part, Positive, Share, Whole
from trainers.run import Run
from trainers.sampling.rollouts import (
    Buffer,
    Rollouts,
    Scored,
    as_drawn,
    cuts,
    due,
    minibatch,
    ratios,
    sampler_error,
)

Example = tuple[Tensor, Tensor]
"""One demonstration as ids: prompt x, answer y."""
Reading = tuple[Tensor, Tensor]
"""Log-probabilities and values [N, T] of a whole buffer, with their gradients."""


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-4
    """Learning rate after warm-up. Around 1e-6 for models of billions of parameters."""
    kl_coef: NonNegative = 0.05
    """beta: what a nat of KL to the reference costs, in running deviations of the score."""
    steps: Count = 100
    """Steps of the optimiser."""
    prompts_per_step: Count = 32
    """Prompts in a buffer of samples."""
    k: Count = 1
    """Answers drawn for each prompt; more than one where prompts are few."""
    epochs: Count = 4
    """Times a buffer of samples is learned from."""
    minibatches: Count = 1
    """Steps in each such time; a buffer serves epochs * minibatches of them."""
    score_clip: Positive = 10.0
    """Scores are cut to this many running deviations from their running mean."""
    clip_ratio: Share = 0.2
    """eps: how far a token's ratio to the policy that drew it is rewarded for moving."""
    gamma: Share = 1.0
    """How much a reward one token later is worth."""
    lam: Share = 0.95
    """GAE's lambda: 1 trusts the rewards that came, 0 the critic."""
    advantage_clip: NonNegative = 0.0
    """Whitened advantages are cut to this size; 0 leaves them."""
    critic: Literal["own", "shared"] = "own"
    """A trunk of its own for the critic, or a head on the policy's: half the work, but then both pull at one trunk."""
    critic_from: Literal["auto", "reward_model", "policy"] = "auto"
    """What a critic's own trunk starts as; auto is the reward model where it reads the policy's tokens."""
    critic_lr: Positive = 3e-4
    """Learning rate of a critic with a trunk of its own."""
    critic_warmup: Whole = 5
    """Buffers from which only the critic learns, before the policy moves."""
    value_clip: Positive = 0.2
    """How far a value may move from the one before the buffer without paying for it."""
    vf_coef: Positive = 0.1
    """Weight of the critic's loss where the critic shares the policy's trunk."""
    sft_coef: NonNegative = 0.0
    """Weight of the likelihood of what was demonstrated or chosen (PPO-ptx); 0 leaves it out."""
    sft_batch: Count = 16
    """Demonstrations a step, where their likelihood is mixed in."""
    kl_target: NonNegative = 0.0
    """KL to aim at by moving kl_coef after each buffer; 0 leaves kl_coef alone."""
    kl_horizon: Count = 10000
    """Answers over which kl_coef may double or so, where a KL is aimed at."""
    max_new_tokens: Count = 128
    """Longest answer."""
    temperature: Positive = 1.0
    """Sampling temperature; log-probabilities are taken at it too."""
    missing_eos_penalty: NonNegative = 1.0
    """Taken from the scaled score of an answer that did not end within max_new_tokens."""
    micro_batch: Count = 64
    """Answers in memory at once; the step does not depend on it."""
    warmup: Share = 0.05
    """Share of a network's own steps over which its learning rate rises; afterwards it falls to 0."""
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
    alone = config.critic_warmup * config.epochs * config.minibatches  # less than steps: registry.RELATIONS
    policy = load_policy(run.input("policy"), run.device).eval()  # eval: dropout off, also while training
    rollouts = Rollouts(run, config, policy)
    critic = make_critic(config, policy, rollouts.reward_model)
    if config.critic == "shared":
        both = nn.ModuleList([cast(nn.Module, policy), cast(nn.Module, critic)])
        optimiser = critic_optimiser = adamw(both, config.weight_decay)
    else:
        optimiser, critic_optimiser = (adamw(one, config.weight_decay) for one in (policy, critic))
    batches = rollouts.batches(config.prompts_per_step)
    shown = examples(policy, rollouts.records) if config.sft_coef else []
    order = Batches([len(y) for _, y in shown], config.sft_batch, run.seed) if config.sft_coef else None
    buffer = Buffer(run.device)
    state: dict[str, Stateful] = {
        "policy": policy, "critic": critic, "optimiser": optimiser, "batches": batches, "buffer": buffer,
    }  # fmt: skip
    if config.critic == "own":
        state["critic_optimiser"] = critic_optimiser
    if order is not None:
        state["demonstrations"] = order
    for step in run.steps(config.steps, state):
        if step == 1:
            rollouts.begin()
        tally, scored, read = Tally(), None, None
        if due(step, config.epochs, config.minibatches):
            scored = rollouts.draw(next(batches), config.k, run.generator)
            read = fill(buffer, rollouts, critic, scored, config, tally, step > alone)
        rows = minibatch(step, len(buffer), config.epochs, config.minibatches, run.seed)
        first = scored is not None
        pace = anneal(step, config.steps, config.warmup)  # the critic's
        own_pace = (
            anneal(step - alone, config.steps - alone, config.warmup) if step > alone else 0.0
        )  # the policy's
        if step <= alone:  # the critic alone; on a shared trunk, its head alone
            losses = value_losses(critic, buffer, rows, config, tally)
            critic_rate = run.knobs["lr"] if config.critic == "shared" else config.critic_lr
            taken = descend(critic_optimiser, losses, critic_rate * pace, config.clip)
        elif config.critic == "shared":
            demos = [shown[i] for i in next(order)] if order is not None else []
            both_losses = joint_losses(policy, critic, buffer, rows, demos, config, tally, first, read)
            taken = descend(optimiser, both_losses, run.knobs["lr"] * own_pace, config.clip)
        else:
            demos = [shown[i] for i in next(order)] if order is not None else []
            losses = policy_losses(policy, buffer, rows, demos, config, tally, first, read)
            taken = descend(optimiser, losses, run.knobs["lr"] * own_pace, config.clip)
            losses = value_losses(critic, buffer, rows, config, tally, read)
            other = descend(critic_optimiser, losses, config.critic_lr * pace, config.clip)
            taken |= {"loss": taken["loss"] + other["loss"], "val/grad_norm": other["grad_norm"]}

        found = rollouts.numbers(step, tally)
        run.log(step, {**taken, "epoch": batches.epoch, **found})
        rollouts.show(step, scored)
        if scored is not None and config.kl_target:
            run.knobs["kl_coef"] *= adaptation(
                found["objective/kl"], config.kl_target, len(scored.texts), config.kl_horizon
            )

    path = save(policy, run.home / "policy")
    run.artifact(
        "policy", "policy", path, config.steps, {"digest": digest(path), "kl_coef": run.knobs["kl_coef"]}
    )
    run.report(rollouts.report())


def make_critic(config: Config, policy: Policy, reward_model: RewardModel) -> Critic:
    if config.critic == "shared":
        return shared_critic(policy)
    if config.critic_from == "policy" or (config.critic_from == "auto" and not alike(policy, reward_model)):
        return own_critic(policy)
    return own_critic(policy, reward_model)


# --- what a buffer holds ------------------------------------------------------------------------------


def fill(
    buffer: Buffer,
    rollouts: Rollouts,
    critic: Critic,
    scored: Scored,
    config: Config,
    tally: Tally,
    learns: bool,
) -> Reading | None:
    """What the coming steps learn from: the samples, pi_old and V_old, advantages and returns.

    Returns the reading to learn from in the first step, where it is one and the policy `learns`.
    """
    run, samples, mask = rollouts.run, scored.samples, scored.samples.mask
    beta = run.knobs["kl_coef"]
    read = one_reading(rollouts, critic, scored, config) if learns else None
    old, values = before(rollouts, critic, scored, config) if read is None else (one.detach() for one in read)
    moments = merge(Moments(*run.memory.get("moments", ())), scored.score)
    run.memory["moments"] = list(moments)
    counted = scaled(scored.score, moments, config.score_clip).to(old.dtype)
    final = counted - config.missing_eos_penalty * (~samples.finished).to(old.dtype)
    rewards = token_rewards(final, old, scored.logp_ref, mask, beta)
    raw, returns = gae(rewards, values, mask, config.gamma, config.lam)
    advantages = whiten(raw, mask)
    if config.advantage_clip:
        advantages = advantages.clamp(-config.advantage_clip, config.advantage_clip)
    buffer.fill(
        samples.x, y=samples.y, mask=mask, old=old, values=values, advantages=advantages, returns=returns,
        weights=samples.weights,
    )  # fmt: skip

    rollouts.observe(tally, scored, rewards.sum(dim=1), counted)
    sampler_error(tally, scored, old)
    tally.add("objective/kl_coef", torch.tensor(beta, dtype=torch.float64))
    tally.add("objective/score_running_mean", torch.tensor(moments.mean, dtype=torch.float64))
    tally.add("objective/score_running_std", torch.tensor(moments.std, dtype=torch.float64))
    tally.add("policy/entropy_avg", -old[mask])
    tally.add("policy/ppl", (-old[mask].mean()).exp())
    known = mask if scored.looked_at is None else mask & scored.looked_at[:, None]
    tally.add("policy/ref_ppl", (-scored.logp_ref[known].mean()).exp())
    tally.add("val/num_eos_tokens", samples.finished.float())
    tally.add("val/vpred", values[mask])
    tally.add("val/returns", returns[mask])
    tally.add("val/advantages_std", raw[mask].std(correction=0))
    tally.add("episode", torch.tensor(run.count("episode", len(scored.texts))))
    spread = returns[mask].var(correction=0)
    if spread > 0:  # else there is nothing to explain
        tally.add("val/var_explained", 1 - (returns - values)[mask].var(correction=0) / spread)
    return read


def one_reading(rollouts: Rollouts, critic: Critic, scored: Scored, config: Config) -> Reading | None:
    """pi_old and V_old with their gradients, if one process reads all the answers at once; else None."""
    x, y = scored.samples.x, scored.samples.y
    if config.minibatches > 1 or len(y) > config.micro_batch or processes.place().size > 1:
        return None
    if config.critic == "shared":
        return cast(SharedCritic, critic).read(x, y, config.temperature)
    return rollouts.policy.logp_tok(x, y, config.temperature), critic.values(x, y)


@torch.no_grad()
def before(rollouts: Rollouts, critic: Critic, scored: Scored, config: Config) -> tuple[Tensor, Tensor]:
    """pi_old's log-probabilities and V_old [N, T], read in the pieces in which the first epoch reads them."""
    samples, found = scored.samples, []
    for rows in cuts(len(samples.y), config.minibatches):
        for part in parts(rows, config.micro_batch):
            x, y = [samples.x[i] for i in part], samples.y[part]
            if config.critic == "shared":
                found.append(cast(SharedCritic, critic).read(x, y, config.temperature))
            else:
                found.append((rollouts.policy.logp_tok(x, y, config.temperature), critic.values(x, y)))
    return torch.cat([logp for logp, _ in found]), torch.cat([values for _, values in found])


def scaled(score: Tensor, moments: Moments, clip: float) -> Tensor:
    """[N]: scores in running deviations from their running mean, cut to +-clip; 0 while all scores are the same."""
    if moments.std == 0:
        return torch.zeros_like(score)
    return ((score - moments.mean) / moments.std).clamp(-clip, clip)


def token_rewards(final: Tensor, old: Tensor, ref: Tensor, mask: Tensor, beta: float) -> Tensor:
    """[N, T]: r_t, the cost of the KL at every token, and `final` [N] at an answer's last."""
    rewards = -beta * (old - ref) * mask
    rewards[torch.arange(len(mask)), mask.sum(dim=1) - 1] += final
    return rewards


def adaptation(kl: float, target: float, answers: int, horizon: int) -> float:
    """What kl_coef is multiplied by: 1 + clip(kl / target - 1, +-0.2) answers / horizon (Ziegler et al. 2019)."""
    return 1 + min(max(kl / target - 1, -0.2), 0.2) * answers / horizon


# --- losses ---------------------------------------------------------------------------------------------


def policy_losses(
    policy: Policy,
    buffer: Buffer,
    rows: Sequence[int],
    demos: Sequence[Example],
    config: Config,
    tally: Tally,
    first: bool,
    read: Reading | None = None,
) -> Iterator[Tensor]:
    """Parts of L_pi for these rows, and of the demonstrations' loss."""
    tokens = buffer["mask"][rows].sum()
    for part in parts(rows, config.micro_batch):
        if read is not None:
            logp_tok = read[0]
        else:
            logp_tok = policy.logp_tok([buffer.x[i] for i in part], buffer["y"][part], config.temperature)
        yield policy_loss(logp_tok, buffer, part, config, tally, first).sum() / tokens
    yield from sft_losses(policy, demos, config, tally)


def value_losses(
    critic: Critic,
    buffer: Buffer,
    rows: Sequence[int],
    config: Config,
    tally: Tally,
    read: Reading | None = None,
) -> Iterator[Tensor]:
    """Parts of L_V for these rows."""
    tokens = buffer["mask"][rows].sum()
    for part in parts(rows, config.micro_batch):
        values = read[1] if read else critic.values([buffer.x[i] for i in part], buffer["y"][part])
        yield value_loss(values, buffer, part, config, tally).sum() / tokens


def joint_losses(
    policy: Policy,
    critic: Critic,
    buffer: Buffer,
    rows: Sequence[int],
    demos: Sequence[Example],
    config: Config,
    tally: Tally,
    first: bool,
    read: Reading | None = None,
) -> Iterator[Tensor]:
    """Parts of L_pi + vf_coef L_V from one forward, and of the demonstrations' loss."""
    tokens = buffer["mask"][rows].sum()
    for part in parts(rows, config.micro_batch):
        x, y = [buffer.x[i] for i in part], buffer["y"][part]
        logp_tok, values = read or cast(SharedCritic, critic).read(x, y, config.temperature)
        actor = policy_loss(logp_tok, buffer, part, config, tally, first).sum()
        yield (actor + config.vf_coef * value_loss(values, buffer, part, config, tally).sum()) / tokens
    yield from sft_losses(policy, demos, config, tally)


def policy_loss(
    logp_tok: Tensor, buffer: Buffer, part: Sequence[int], config: Config, tally: Tally, first: bool
) -> Tensor:
    """[n]: the clipped surrogate of the real tokens of these rows, to be minimised."""
    old, advantages, mask = (buffer[name][part] for name in ("old", "advantages", "mask"))
    ratio = importance(as_drawn(logp_tok, buffer.get("weights"), part), old)[mask]
    losses = -clipped(ratio, advantages[mask], config.clip_ratio, config.clip_ratio)
    tally.add("loss/policy_avg", losses)
    tally.add("policy/clipfrac_avg", ((ratio.detach() - 1).abs() > config.clip_ratio).float())
    tally.add("policy/approxkl_avg", 0.5 * (logp_tok.detach() - old)[mask] ** 2)
    tally.add("val/ratio_var", (ratio - 1) ** 2)
    ratios(tally, ratio, first)
    return losses


def value_loss(values: Tensor, buffer: Buffer, part: Sequence[int], config: Config, tally: Tally) -> Tensor:
    """[n]: the clipped squared error of the real tokens of these rows."""
    mask = buffer["mask"][part]
    old, returns, values = buffer["values"][part][mask], buffer["returns"][part][mask], values[mask]
    losses = clipped_value_loss(values, old, returns, config.value_clip)
    tally.add("loss/value_avg", losses)
    tally.add("val/error", (values.detach() - returns) ** 2)
    tally.add("val/clipfrac_avg", ((values.detach() - old).abs() > config.value_clip).float())
    return losses


def sft_losses(policy: Policy, demos: Sequence[Example], config: Config, tally: Tally) -> Iterator[Tensor]:
    """Parts of sft_coef times the mean of -log pi over the tokens of the demonstrations, at temperature 1."""
    tokens = sum(len(y) for _, y in demos)
    for part in parts(demos, config.micro_batch):
        batch = collate(policy, part)
        logp_tok = policy.logp_tok(batch.x, batch.y)
        tally.add("loss/sft_avg", -logp_tok[batch.mask])
        yield -config.sft_coef * logp_tok.sum() / tokens


def examples(policy: Policy, records: Sequence[Record]) -> list[Example]:
    """What was demonstrated, corrected or chosen, as ids."""
    shown = [one for record in records for one in demonstrated(record)]
    return [policy.encode_pair(prompt, answer) for prompt, answer, _ in shown]
