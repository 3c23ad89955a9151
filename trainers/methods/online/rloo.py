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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.data import Batches, prompts, read_records, split
from trainers.fit import Tally, adamw, anneal, descend, parts
from trainers.nn import Policy, Samples, digest, load_policy, load_reward_model, save
from trainers.records import Prompt, prompt_text
from trainers.registry import Count, NonNegative, Positive, Share, Whole
from trainers.run import Run
from trainers.sampling import sample_answers

PROBE = 64
"""Answers that are drawn and scored before and after training, to compare."""


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
    k: Count = 4
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
    held_out: Share = 0.2
    """Share of the prompts kept from training: those that the reward model was measured on."""
    watch: Whole = 8
    """Prompts whose answers are shown again and again while the policy learns."""
    watch_every: Count = 10
    """Steps between two such showings."""


class Drawn(NamedTuple):
    """Answers with what was thought of them; row b * k + i is the i-th answer to prompt b."""

    samples: Samples
    questions: list[Prompt]
    texts: list[str]
    kl: Tensor
    """[N] log pi - log pi_ref of the whole answer."""
    score: Tensor
    """[N] what the reward model gives."""
    gold: Tensor | None
    """[N] what the stated rule gives, for the charts alone."""


def train(config: Config, run: Run) -> None:
    if config.k < 2:
        raise ValueError(
            f"k is {config.k}: an answer has nothing to be compared with. Draw at least 2 a prompt."
        )
    policy = load_policy(run.input("policy"), run.device).eval()  # eval: dropout off, also while training
    reference = load_policy(Path(run.inputs.get("reference", run.input("policy"))), run.device)
    reference.eval().requires_grad_(False)
    reward_model = load_reward_model(run.input("reward_model"), run.device).eval()
    gold = run.gold
    train_part, kept = split(
        read_records(run.snapshot, ("pair", "correction", "demonstration")), config.held_out
    )
    questions = prompts(train_part)
    watched = (prompts(kept) or questions)[: config.watch]

    @torch.no_grad()
    def draw(asked: Sequence[Prompt], k: int, generator: torch.Generator) -> Drawn:
        drawn = sample_answers(policy, asked, k, config.max_new_tokens, config.temperature, generator)
        samples, repeated, texts = drawn.samples, drawn.prompts, drawn.texts
        logp_ref = torch.cat(
            [
                reference.logp_tok([samples.x[i] for i in part], samples.y[part], config.temperature).sum(
                    dim=1
                )
                for part in parts(range(len(texts)), config.micro_batch)
            ]
        )
        return Drawn(
            samples=samples,
            questions=repeated,
            texts=texts,
            kl=samples.logp_tok.sum(dim=1) - logp_ref,
            score=reward_model.score(repeated, texts).to(run.device),
            gold=torch.tensor([gold(*one) for one in zip(repeated, texts, strict=True)]) if gold else None,
        )

    def probe() -> Drawn:
        asked = questions[:PROBE]
        return draw(asked, max(1, PROBE // len(asked)), fresh_generator(run))

    def show(step: int) -> None:
        """The same prompts with the same chances at every showing: what changes is the policy."""
        if watched:
            run.samples(step, sample_rows(draw(watched, 1, fresh_generator(run))))

    optimiser = adamw(policy, config.weight_decay)
    batches = Batches([len(policy.encode(one)) for one in questions], config.prompts_per_step, run.seed)
    for step in run.steps(config.steps, {"policy": policy, "optimiser": optimiser, "batches": batches}):
        if step == 1:
            run.memory["before"] = readings(probe())
            show(0)

        drawn = draw([questions[i] for i in next(batches)], config.k, run.generator)
        rewards = reward(drawn, run.knobs["kl_coef"], config.missing_eos_penalty)
        advantages = leave_one_out(rewards.view(-1, config.k)).flatten()

        tally = Tally()
        losses = policy_loss(policy, drawn.samples, advantages, config, tally)
        lr = run.knobs["lr"] * anneal(step, config.steps, config.warmup)
        taken = descend(optimiser, losses, lr, config.clip)

        observe(tally, drawn, rewards, config.k)
        tokens = run.count("num_tokens", int(drawn.samples.mask.sum()))
        gap = proxy_gap(run.memory["before"], drawn)
        run.log(step, {**taken, "epoch": batches.epoch, "num_tokens": tokens, **tally.numbers(), **gap})
        if config.watch_every and (step % config.watch_every == 0 or step == config.steps):
            show(step)
            run.histogram(step, "objective/scores", drawn.score.tolist())

    path = save(policy, run.home / "policy")
    run.artifact(
        "policy", "policy", path, config.steps, {"digest": digest(path), "kl_coef": run.knobs["kl_coef"]}
    )
    run.report(report(run.memory["before"], readings(probe())))


def reward(drawn: Drawn, beta: float, penalty: float) -> Tensor:
    """[N]: R_i, the score less what the distance to the reference and a missing end cost."""
    unfinished = (~drawn.samples.finished).to(drawn.score.dtype)
    return drawn.score - beta * drawn.kl - penalty * unfinished


def leave_one_out(rewards: Tensor) -> Tensor:
    """[B, k] -> [B, k]: each reward less the mean of the k - 1 others of its prompt.

    R_i - mean_{j != i} R_j = k / (k - 1) (R_i - mean_j R_j), which loses no digits where rewards are alike.
    """
    k = rewards.shape[1]
    return k / (k - 1) * (rewards - rewards.mean(dim=1, keepdim=True))


def policy_loss(
    policy: Policy, samples: Samples, advantages: Tensor, config: Config, tally: Tally
) -> Iterator[Tensor]:
    """Parts of -mean_i A_i log pi(y_i|x), whose gradient is minus the one to climb."""
    for part in parts(range(len(advantages)), config.micro_batch):
        x, y = [samples.x[i] for i in part], samples.y[part]
        logp_tok = policy.logp_tok(x, y, config.temperature)  # [b, T]
        yield -(advantages[part] * logp_tok.sum(dim=1)).sum() / len(advantages)
        ratio = (logp_tok.detach() - samples.logp_tok[part]).exp()[samples.mask[part]]
        for name in ("val/ratio", "val/ratio_min", "val/ratio_max"):
            tally.add(name, ratio)


def observe(tally: Tally, drawn: Drawn, rewards: Tensor, k: int) -> None:
    """The batch's numbers, for the charts."""
    length = drawn.samples.mask.sum(dim=1).double()
    groups = drawn.score.view(-1, k)
    tally.add("objective/scores", drawn.score)
    tally.add("objective/kl", drawn.kl)
    tally.add("objective/sqrt_kl", drawn.kl.mean().clamp(min=0).sqrt())
    tally.add("objective/non_score_reward", rewards - drawn.score)
    tally.add("objective/rlhf_reward", rewards)
    tally.add("objective/entropy", -drawn.samples.logp_tok.sum(dim=1))
    tally.add("frac_reward_zero_std", (groups.amax(dim=1) == groups.amin(dim=1)).float())
    for name in ("completions/mean_length", "completions/min_length", "completions/max_length"):
        tally.add(name, length)
    tally.add("completions/clipped_ratio", (~drawn.samples.finished).float())
    if drawn.gold is not None:
        tally.add("objective/gold", drawn.gold)
    if length.std() > 0 and drawn.score.std() > 0:  # else there is no correlation to speak of
        both = torch.stack([drawn.score.double(), length])
        tally.add("rewards/length_corr", torch.corrcoef(both)[0, 1])


def readings(drawn: Drawn) -> dict[str, float]:
    """Mean and deviation of what the answers scored."""
    found = {
        "score": drawn.score.mean().item(),
        "score_std": drawn.score.std().item(),
        "kl": drawn.kl.mean().item(),
        "length": drawn.samples.mask.sum(dim=1).double().mean().item(),
    }
    if drawn.gold is not None:
        found |= {"gold": drawn.gold.mean().item(), "gold_std": drawn.gold.std().item()}
    return found


def proxy_gap(before: dict[str, float], drawn: Drawn) -> dict[str, float]:
    """How far the score's gain since the start is ahead of gold's, each in deviations at the start."""
    if drawn.gold is None or not before["score_std"] or not before["gold_std"]:
        return {}
    score = (drawn.score.mean().item() - before["score"]) / before["score_std"]
    gold = (drawn.gold.mean().item() - before["gold"]) / before["gold_std"]
    return {"objective/proxy_gap": score - gold}


def report(before: dict[str, float], after: dict[str, float]) -> dict[str, object]:
    """First policy beside last, on the same prompts with the same chances."""
    labels = {"score": "Score", "gold": "Gold score", "kl": "KL to reference", "length": "Tokens an answer"}
    return {
        "readings": {
            f"{name}_{when}": {"label": f"{label}, {when}", "value": found[name]}
            for name, label in labels.items()
            for when, found in (("before", before), ("after", after))
            if name in found
        }
    }


def sample_rows(drawn: Drawn) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for index, (prompt, text) in enumerate(zip(drawn.questions, drawn.texts, strict=True)):
        scores = {"score": drawn.score[index].item(), "kl": drawn.kl[index].item()}
        if drawn.gold is not None:
            scores["gold"] = drawn.gold[index].item()
        length = int(drawn.samples.mask[index].sum())
        rows.append(
            {"index": index, "prompt": prompt_text(prompt), "text": text, "scores": scores, "length": length}
        )
    return rows


def fresh_generator(run: Run) -> torch.Generator:
    """Apart from the one that training draws from, which watching must not disturb."""
    return torch.Generator(run.device).manual_seed(run.seed)
