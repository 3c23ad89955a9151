"""P3O: pairwise proximal policy optimization (Wu et al. 2023, arXiv:2310.00212), with separate clipping (V1).

For each prompt draw two answers from pi_old. A reward model knows rewards only up to a constant of the prompt, so only
their difference is used, and the policy gradient is that of the pair:

    R_i = r(x, y_i) - beta (log pi_old(y_i|x) - log pi_ref(y_i|x)) - penalty [y_i did not end]
    grad J = E_{y1, y2 ~ pi} [ (R_1 - R_2) grad (log pi(y1|x) - log pi(y2|x)) ] / 2
    D = (R_1 - R_2) / 2        rho_i = pi(y_i|x) / pi_old(y_i|x), of whole answers
    L = -mean [ min(D rho_1, D clip(rho_1, 1 +- eps)) + min(-D rho_2, -D clip(rho_2, 1 +- eps)) ]

No critic, and nothing to whiten: any constant of the prompt cancels in D. Several epochs are made over one buffer of
pairs. Policy, pi_old and reference are read at the sampling temperature. Left out: joint clipping (V2), which clips
rho_1 / rho_2 in one term; unclipped and off policy its gradient is no longer that of J, while V1's still is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from trainers.checkpoints import Stateful
from trainers.fit import Tally, adamw, anneal, descend, parts
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


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-4
    """Learning rate after warm-up. Around 1e-6 for models of billions of parameters."""
    kl_coef: NonNegative = 0.05
    """beta: what a nat of KL to the reference costs, in units of reward."""
    steps: Count = 100
    """Steps of the optimiser."""
    prompts_per_step: Count = 16
    """Prompts in a buffer of samples, with two answers each."""
    epochs: Count = 2
    """Times a buffer of samples is learned from."""
    minibatches: Count = 1
    """Steps in each such time; a buffer serves epochs * minibatches of them."""
    clip_ratio: Share = 0.2
    """eps: how far an answer's ratio to the policy that drew it is rewarded for moving."""
    max_new_tokens: Count = 128
    """Longest answer."""
    temperature: Positive = 1.0
    """Sampling temperature; log-probabilities are taken at it too."""
    missing_eos_penalty: NonNegative = 1.0
    """Taken from the reward of an answer that did not end within max_new_tokens."""
    micro_batch: Several = 64
    """Answers in memory at once, at least 2; the step does not depend on it."""
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
            scored = rollouts.draw(next(batches), 2, run.generator)
            fill(buffer, rollouts, scored, run.knobs["kl_coef"], config, tally)
        pairs = minibatch(step, len(buffer) // 2, config.epochs, config.minibatches, run.seed)
        losses = policy_loss(policy, buffer, pairs, config, tally, scored is not None)
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
    """What the coming steps learn from: the samples, their rewards, and pi_old."""
    samples = scored.samples
    first_time = [
        answers_of(part)
        for pairs in cuts(len(samples.y) // 2, config.minibatches)
        for part in parts(pairs, config.micro_batch // 2)
    ]
    old = rollouts.read(rollouts.policy, samples, first_time)
    sampler_error(tally, scored, old)
    rewards = reward(scored, beta, config.missing_eos_penalty)
    buffer.fill(samples.x, y=samples.y, mask=samples.mask, old=old, rewards=rewards, weights=samples.weights)
    rollouts.observe(tally, scored, rewards)
    groups(tally, reward(scored, 0.0, config.missing_eos_penalty).view(-1, 2))
    tally.add("objective/reward_difference", (rewards.view(-1, 2) @ rewards.new_tensor([1.0, -1.0])).abs())


def reward(scored: Scored, beta: float, penalty: float) -> Tensor:
    """[N]: R_i, the score less what the distance to the reference and a missing end cost."""
    unfinished = (~scored.samples.finished).to(scored.score.dtype)
    return scored.score - beta * scored.kl - penalty * unfinished


def pair_loss(logp: Tensor, old: Tensor, rewards: Tensor, eps: float) -> Tensor:
    """[B]: L of each pair; logp (with gradient), old and rewards are [B, 2], of whole answers."""
    ratio = importance(logp, old)
    d = (rewards[:, 0] - rewards[:, 1]) / 2
    return -(clipped(ratio[:, 0], d, eps, eps) + clipped(ratio[:, 1], -d, eps, eps))


def policy_loss(
    policy: Policy, buffer: Buffer, pairs: Sequence[int], config: Config, tally: Tally, first: bool
) -> Iterator[Tensor]:
    """Parts of L for these pairs of the buffer; `first` on the samples of the policy as it is."""
    for part in parts(pairs, config.micro_batch // 2):
        rows = answers_of(part)
        y, old, rewards = (buffer[name][rows] for name in ("y", "old", "rewards"))
        logp_tok = policy.logp_tok([buffer.x[i] for i in rows], y, config.temperature)  # [2b, T]
        logp, old = as_drawn(logp_tok, buffer.get("weights"), rows).sum(dim=1), old.sum(dim=1)
        yield pair_loss(
            logp.view(-1, 2), old.view(-1, 2), rewards.view(-1, 2), config.clip_ratio
        ).sum() / len(pairs)
        ratio = importance(logp.detach(), old)
        ratios(tally, ratio, first)
        tally.add("policy/clipfrac_avg", ((ratio - 1).abs() > config.clip_ratio).float())
        tally.add("policy/approxkl_avg", 0.5 * (logp.detach() - old) ** 2)


def answers_of(pairs: Sequence[int]) -> list[int]:
    """The rows of the answers of these pairs: pair b has rows 2 b and 2 b + 1."""
    return [row for pair in pairs for row in (2 * pair, 2 * pair + 1)]
