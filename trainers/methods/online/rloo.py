"""RLOO: REINFORCE with a leave-one-out baseline (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740).

For each prompt draw y_1 … y_k from pi at the sampling temperature. An answer is one action; its reward and
the gradient are

    R_i = r(x, y_i) - beta (log pi(y_i|x) - log pi_ref(y_i|x)) - penalty [y_i did not end]
    A_i = R_i - mean_{j != i} R_j
    grad = mean_i A_i grad log pi(y_i|x)

The baseline leaves out the answer's own reward, so the gradient is unbiased. One step is taken for each batch
of samples: they are always the policy's own, the ratio pi/pi_sampler is 1 and nothing needs to be clipped.
Reference and policy are read at the temperature of sampling. Left out: several epochs over one batch of
samples (PPO's clipping would be needed), normalised advantages, an adaptive KL coefficient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.maths.moments import centred
from trainers.maths.surrogate import importance
from trainers.nn import Policy, Samples, digest, load_policy, save
from trainers.registry import Count, NonNegative, Part, Positive, Several, Share, Whole
from trainers.run import Run
from trainers.sampling.rollouts import Rollouts, Scored, as_drawn, groups, ratios


@dataclass(frozen=True)
class Config:
    """What can be set."""

    lr: Positive = 1e-4
    """Learning rate after warm-up. Around 1e-6 for models of billions of parameters."""
    kl_coef: NonNegative = 0.05
    """beta: what a nat of KL to the reference costs, in units of reward."""
    steps: Count = 100
    """Batches of samples to learn from."""
    prompts_per_step: Count = 8
    """Prompts in a batch."""
    k: Several = 4
    """Answers drawn for each prompt, at least 2: each is compared with the others."""
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
    for step in run.steps(config.steps, {"policy": policy, "optimiser": optimiser, "batches": batches}):
        if step == 1:
            rollouts.begin()
        scored = rollouts.draw(next(batches), config.k, run.generator)
        rewards = reward(scored, run.knobs["kl_coef"], config.missing_eos_penalty)
        advantages = leave_one_out(rewards.view(-1, config.k)).flatten()

        tally = Tally()
        losses = policy_loss(policy, scored.samples, advantages, config, tally)
        lr = run.knobs["lr"] * anneal(step, config.steps, config.warmup)
        taken = descend(optimiser, losses, lr, config.clip)

        rollouts.observe(tally, scored, rewards)
        groups(tally, reward(scored, 0.0, config.missing_eos_penalty).view(-1, config.k))
        run.log(step, {**taken, "epoch": batches.epoch, **rollouts.numbers(step, tally)})
        rollouts.show(step, scored)

    path = save(policy, run.home / "policy")
    run.artifact(
        "policy", "policy", path, config.steps, {"digest": digest(path), "kl_coef": run.knobs["kl_coef"]}
    )
    run.report(rollouts.report())


def reward(scored: Scored, beta: float, penalty: float) -> Tensor:
    """[N]: R_i, the score less what the distance to the reference and a missing end cost."""
    unfinished = (~scored.samples.finished).to(scored.score.dtype)
    return scored.score - beta * scored.kl - penalty * unfinished


def leave_one_out(rewards: Tensor) -> Tensor:
    """[B, k] -> [B, k]: each reward less the mean of the k - 1 others of its prompt.

    R_i - mean_{j != i} R_j = k / (k - 1) (R_i - mean_j R_j), which loses few digits where rewards are alike, and is
    exactly 0 where they are equal.
    """
    k = rewards.shape[1]
    return k / (k - 1) * centred(rewards)


def policy_loss(
    policy: Policy, samples: Samples, advantages: Tensor, config: Config, tally: Tally
) -> Iterator[Tensor]:
    """Parts of -mean_i A_i log pi(y_i|x), whose gradient is minus the one to climb."""
    for part in parts(range(len(advantages)), config.micro_batch):
        x, y = [samples.x[i] for i in part], samples.y[part]
        logp_tok = as_drawn(policy.logp_tok(x, y, config.temperature), samples.weights, part)  # [b, T]
        yield -(advantages[part] * logp_tok.sum(dim=1)).sum() / len(advantages)
        mask = samples.mask[part]
        ratios(tally, importance(logp_tok.detach(), samples.logp_tok[part])[mask], first=False)
