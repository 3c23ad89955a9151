"""What all methods that learn from their own samples share: drawing, scoring, counting, showing.

What makes a method is not here: how rewards become advantages, what is detached, what a loss is normalised by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from trainers.data import Batches, prompts, read_records, split
from trainers.fit import Tally, parts
from trainers.maths.surrogate import importance
from trainers.nn import Policy, Samples, load_policy, load_reward_model
from trainers.records import Prompt, prompt_text
from trainers.registry import PROMPTS, SAMPLERS
from trainers.reports import online
from trainers.run import Run
from trainers.sampling import sample_answers

if TYPE_CHECKING:
    from trainers.sampling.vllm import Engine

PROBE = 64
"""Answers that are drawn and scored before and after training, to compare."""
PIECE = 16
"""Of these, so many at a time: few, so that comparing takes no more memory than a step; and as many whatever the
settings, so that the same ones are drawn."""
MOST = 2.0
"""The most that a token counts because its sampler drew it more rarely than the policy would have."""
LOOKED_AT = 4
"""Where the KL is for the charts alone, the reference reads the answers to one prompt of so many."""
LEAST = 8
"""And to no fewer than so many answers, where there are as many."""
ALARM_OVER = 20
"""Batches in a row over whose mean a KL below zero raises an alarm; one batch may well be below."""


class Settings(Protocol):
    """What a method that samples lets one set."""

    @property
    def steps(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def micro_batch(self) -> int: ...
    @property
    def held_out(self) -> float: ...
    @property
    def watch(self) -> int: ...
    @property
    def watch_every(self) -> int: ...


@dataclass(frozen=True)
class Scored:
    """Answers with what was thought of them; row b * k + i is the i-th answer to prompt b."""

    samples: Samples
    prompts: list[Prompt]
    texts: list[str]
    logp_ref: Tensor
    """[N, T] log-probabilities under the reference, at the sampling temperature; 0 on padding. Where the reference read
    no more than a part, the policy's own stand in for the others."""
    score: Tensor
    """[N] what the reward model gives."""
    gold: Tensor | None
    """[N] what the stated rule gives, for the charts alone."""
    drawn_logp: Tensor | None = None
    """[N, T] the log-probabilities of a sampler that is not the policy itself; `samples.logp_tok` are the policy's."""
    looked_at: Tensor | None = None
    """[N] bool: the answers that the reference read; None where it read all."""

    @property
    def kl(self) -> Tensor:
        """[N] log pi - log pi_ref of the whole answer; 0 where the reference did not read it."""
        return (self.samples.logp_tok - self.logp_ref).sum(dim=1)

    @property
    def kl_looked_at(self) -> Tensor:
        """The same, of the answers that the reference read: an unbiased sample of all."""
        return self.kl if self.looked_at is None else self.kl[self.looked_at]


class Rollouts:
    """What a policy's answers are drawn for, measured against and scored by."""

    def __init__(self, run: Run, config: Settings, policy: Policy) -> None:
        self.run, self.config, self.policy = run, config, policy
        self.reference = load_policy(Path(run.inputs.get("reference", run.input("policy"))), run.device)
        self.reference.eval().requires_grad_(False)
        self.reward_model = load_reward_model(run.input("reward_model"), run.device).eval()
        self.engine = _engine(run, policy)
        self.records, kept = split(read_records(run.snapshot, PROMPTS), config.held_out)
        self.questions = prompts(self.records)
        self.watched = (prompts(kept) or self.questions)[: config.watch]

    def batches(self, size: int) -> Batches:
        """The order in which the prompts are asked, `size` of them at a time."""
        return Batches([len(self.policy.encode(one)) for one in self.questions], size, self.run.seed)

    @torch.no_grad()
    def draw(self, rows: Sequence[int], k: int, generator: torch.Generator) -> Scored:
        """k answers to each of these prompts, scored.

        Where kl_coef is 0 nothing is learned from the KL, and the reference reads a part of them, for the charts.
        """
        looked_at = None if self.run.knobs["kl_coef"] else self._some(len(rows), k)
        return self._draw([self.questions[row] for row in rows], k, generator, looked_at)

    def _some(self, prompts: int, k: int) -> Tensor:
        """[prompts * k] bool: the answers to a part of the prompts, each as likely as the others to be in it.

        By chances apart from those that answers are drawn with; the tokens so far say how far those have come.
        """
        count = min(prompts, max(-(-prompts // LOOKED_AT), -(-LEAST // k)))
        chance = np.random.default_rng([self.run.seed, self.run.memory.get("num_tokens", 0)])
        chosen = torch.zeros(prompts, dtype=torch.bool, device=self.run.device)
        chosen[chance.choice(prompts, count, replace=False).tolist()] = True
        return chosen.repeat_interleave(k)

    def _draw(
        self, asked: Sequence[Prompt], k: int, generator: torch.Generator, looked_at: Tensor | None = None
    ) -> Scored:
        gold = self.run.gold
        samples, repeated, texts, drawn_logp = self._answers(asked, k, generator)
        if looked_at is None or looked_at.all():
            looked_at, logp_ref = None, self.read(self.reference, samples, [range(len(texts))])
        else:
            rows = looked_at.nonzero()[:, 0].tolist()
            logp_ref = samples.logp_tok.clone()
            logp_ref[rows] = self.read(self.reference, samples, [rows]).to(logp_ref.dtype)
        return Scored(
            samples=samples,
            prompts=repeated,
            texts=texts,
            logp_ref=logp_ref,
            looked_at=looked_at,
            score=self.reward_model.score(repeated, texts).to(self.run.device),
            gold=torch.tensor([gold(*one) for one in zip(repeated, texts, strict=True)]) if gold else None,
            drawn_logp=drawn_logp,
        )

    def _answers(
        self, asked: Sequence[Prompt], k: int, generator: torch.Generator
    ) -> tuple[Samples, list[Prompt], list[str], Tensor | None]:
        """k answers to each of these prompts, by the policy or by the engine that draws in its place."""
        policy, length, temperature = self.policy, self.config.max_new_tokens, self.config.temperature
        if self.engine is None:
            drawn = sample_answers(policy, asked, k, length, temperature, generator)
            return drawn.samples, drawn.prompts, drawn.texts, None
        samples = self.engine.sample([policy.encode(one) for one in asked], k, length, temperature, generator)
        logp = self.read(policy, samples, [range(len(samples.y))])
        weights = importance(logp, samples.logp_tok).clamp(max=MOST)
        texts = [policy.decode(y) for y in samples.y]
        own = replace(samples, logp_tok=logp, weights=weights)
        return own, [one for one in asked for _ in range(k)], texts, samples.logp_tok

    @torch.no_grad()
    def read(self, policy: Policy, samples: Samples, cuts: Sequence[Sequence[int]]) -> Tensor:
        """[N, T] log-probabilities of samples under a policy, read as training does: `cuts` are its batches of rows."""
        return torch.cat(
            [
                policy.logp_tok([samples.x[i] for i in part], samples.y[part], self.config.temperature)
                for rows in cuts
                for part in parts(rows, self.config.micro_batch)
            ]
        )

    # --- charts, samples, report -----------------------------------------------------------------------

    def begin(self) -> None:
        """Before the first step: what the policy can do so far."""
        self.run.memory["before"] = self._probe()
        self.run.memory["frontier"] = []
        self.show(0)

    def observe(self, tally: Tally, scored: Scored, rewards: Tensor, counted: Tensor | None = None) -> None:
        """The numbers of fresh samples; `rewards` [N] are what is maximised, the KL's cost included.

        `counted` [N] are the scores as `rewards` have them, where those are not the reward model's own.
        """
        length = scored.samples.mask.sum(dim=1).double()
        ended = scored.samples.finished
        tally.add("objective/scores", scored.score)
        tally.add("objective/kl", scored.kl_looked_at)
        tally.add("objective/non_score_reward", rewards - (scored.score if counted is None else counted))
        tally.add("objective/rlhf_reward", rewards)
        tally.add("objective/entropy", -scored.samples.logp_tok.sum(dim=1))
        for name in ("mean", "min", "max"):
            tally.add(f"completions/{name}_length", length)
            tally.add(f"completions/{name}_terminated_length", length[ended])
        tally.add("completions/clipped_ratio", (~ended).float())
        tally.add("num_tokens", torch.tensor(self.run.count("num_tokens", int(length.sum()))))
        if scored.gold is not None:
            tally.add("objective/gold", scored.gold)
        if scored.drawn_logp is not None:
            mask = scored.samples.mask
            _apart(tally, scored.samples.logp_tok[mask], scored.drawn_logp[mask])
            ratio = importance(scored.samples.logp_tok, scored.drawn_logp)[mask]
            for name in ("min", "mean", "max"):
                tally.add(f"sampling/importance_sampling_ratio/{name}", ratio)
        # Where one of them does not vary there is no correlation to speak of.
        if length.min() < length.max() and scored.score.min() < scored.score.max():
            both = torch.stack([scored.score.double(), length])
            tally.add("rewards/length_corr", torch.corrcoef(both)[0, 1])

    def numbers(self, step: int, tally: Tally) -> dict[str, float]:
        """The step's numbers, and with fresh samples those that follow from them."""
        found = tally.numbers()
        if "objective/kl" in found:
            kl, score, gold = found["objective/kl"], found["objective/scores"], found.get("objective/gold")
            found["objective/sqrt_kl"] = max(kl, 0.0) ** 0.5
            gap = online.proxy_gap(self.run.memory["before"], score, gold)
            if gap is not None:
                found["objective/proxy_gap"] = gap
            self.run.memory["frontier"] = online.thin([*self.run.memory["frontier"], [step, kl, score, gold]])
            self._watch_kl(step, kl)
        return found

    def _watch_kl(self, step: int, kl: float) -> None:
        recent = [*self.run.memory.get("recent_kl", []), kl][-ALARM_OVER:]
        self.run.memory["recent_kl"] = recent
        if len(recent) == ALARM_OVER and negative(recent) and not self.run.memory.get("kl_alarm"):
            self.run.memory["kl_alarm"] = step
            mean = sum(recent) / len(recent)
            self.run.event(
                "negative-kl",
                step,
                "alarm",
                f"The KL to the reference was {mean:.3g} over the last {ALARM_OVER} batches, which no distance can be: "
                "the samples do not come from the distribution that their log-probabilities are of. Look for a "
                "truncated or penalised sampler, a forgotten temperature, or dropout.",
            )

    def show(self, step: int, scored: Scored | None = None) -> None:
        """The same prompts with the same chances at every showing: what changes is the policy."""
        config = self.config
        if step % config.watch_every and step != config.steps:
            return
        if self.watched:
            with torch.no_grad():
                self.run.samples(step, _rows(self._draw(self.watched, 1, self._apart())))
        if scored is not None:
            self.run.histogram(step, "objective/scores", scored.score.tolist())

    def report(self) -> dict[str, object]:
        """First policy beside last, and what lies between them."""
        memory = self.run.memory
        return online.report(memory["before"], self._probe(), memory["frontier"])

    @torch.no_grad()
    def _probe(self) -> dict[str, float]:
        """What the policy can do so far."""
        asked, apart = self.questions[:PROBE], self._apart()
        k = max(1, PROBE // len(asked))
        pieces = parts(asked, max(1, PIECE // k))
        return readings([self._draw(piece, k, apart) for piece in pieces])

    def _apart(self) -> torch.Generator:
        """A generator apart from the one that training draws from, which watching must not disturb."""
        return torch.Generator(self.run.device).manual_seed(self.run.seed)


class Buffer:
    """What several steps learn from. A checkpoint keeps it: a run goes on inside it as if it had not stopped."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.x: list[Tensor] = []
        self.tensors: dict[str, Tensor] = {}

    def fill(self, x: Sequence[Tensor], **tensors: Tensor | None) -> None:
        """Replaces what was there; every tensor has a row for each of x."""
        self.x = list(x)
        self.tensors = {name: value for name, value in tensors.items() if value is not None}

    def __len__(self) -> int:
        return len(self.x)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def get(self, name: str) -> Tensor | None:
        return self.tensors.get(name)

    def state_dict(self) -> dict[str, Any]:
        return {"x": self.x, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.x = list(state["x"])
        self.tensors = {name: value.to(self.device) for name, value in state["tensors"].items()}


def cuts(rows: int, minibatches: int) -> list[list[int]]:
    """The rows of a buffer in as many runs as it has minibatches: how they are gone through the first time.

    Fewer where there are fewer rows: the last prompts of an epoch may be few.
    """
    return [piece.tolist() for piece in np.array_split(np.arange(rows), min(minibatches, rows))]


def due(step: int, epochs: int, minibatches: int) -> bool:
    """Whether samples must be drawn before step 1, 2, …: a buffer of them serves epochs * minibatches steps."""
    return (step - 1) % (epochs * minibatches) == 0


def minibatch(step: int, rows: int, epochs: int, minibatches: int, seed: int) -> list[int]:
    """The rows of the buffer that a step learns from.

    The first time through they come in their own order, so that the first step reads exactly what was read before it;
    then shuffled. All follows from step and seed: a checkpoint has nothing to keep.
    """
    buffer, at = divmod(step - 1, epochs * minibatches)
    epoch, index = divmod(at, minibatches)
    pieces = cuts(rows, minibatches)
    piece = pieces[index % len(pieces)]
    if not epoch:
        return piece
    order = np.random.default_rng([seed, buffer, epoch]).permutation(rows)
    return [int(row) for row in order[piece]]


def negative(kls: Sequence[float]) -> bool:
    """Whether the mean of these batches' KLs lies clearly below zero: by three standard errors, and not by rounding."""
    values = np.asarray(kls)
    error = values.std(ddof=1) / len(values) ** 0.5
    return bool(values.mean() + 3 * error < 0 and values.mean() < -1e-3)


def ratios(tally: Tally, ratio: Tensor, first: bool) -> None:
    """The ratios pi / pi_old of learned tokens; the first time after drawing each must be exactly 1."""
    for name in ("val/ratio", "val/ratio_min", "val/ratio_max"):
        tally.add(name, ratio)
        if first:
            tally.add(name.replace("val/", "val/first_"), ratio)


def as_drawn(logp_tok: Tensor, weights: Tensor | None, rows: Sequence[int]) -> Tensor:
    """[b, T]: the log-probabilities logp_tok of these rows, with a gradient that counts each token by its weight.

    A token that an engine drew with q in place of pi counts min(pi / q, MOST): truncated importance sampling (Ionides
    2008, https://doi.org/10.1198/106186008X320456), token by token. weights [N, T]; None where the policy drew itself.
    """
    if weights is None:
        return logp_tok
    fixed = logp_tok.detach()
    return fixed + weights[rows] * (logp_tok - fixed)


def sampler_error(tally: Tally, scored: Scored, old: Tensor) -> None:
    """How far the sampler's log-probabilities are from the trainer's, both of the unchanged policy."""
    if scored.drawn_logp is None:  # else `Rollouts.observe` has said it
        mask = scored.samples.mask
        _apart(tally, old[mask], scored.samples.logp_tok[mask])


def _apart(tally: Tally, trainer: Tensor, sampler: Tensor) -> None:
    difference = (trainer - sampler).abs()
    tally.add("sampling/sampling_logp_difference/mean", difference)
    tally.add("sampling/sampling_logp_difference/max", difference)


def groups(tally: Tally, rewards: Tensor) -> None:
    """[B, k] rewards before the KL's cost: groups that differ in nothing teach nothing."""
    tally.add("reward", rewards)
    tally.add("reward_std", rewards.std(dim=1))
    tally.add("frac_reward_zero_std", (rewards.amax(dim=1) == rewards.amin(dim=1)).float())


def readings(drawn: Sequence[Scored]) -> dict[str, float]:
    """Mean and deviation of what the answers scored."""
    score = torch.cat([one.score for one in drawn])
    found = {
        "score": score.mean().item(),
        "score_std": score.std().item(),
        "kl": torch.cat([one.kl for one in drawn]).mean().item(),
        "length": torch.cat([one.samples.mask.sum(dim=1) for one in drawn]).double().mean().item(),
    }
    gold = [one.gold for one in drawn if one.gold is not None]
    if gold:
        found |= {"gold": torch.cat(gold).mean().item(), "gold_std": torch.cat(gold).std().item()}
    return found


def _engine(run: Run, policy: Policy) -> Engine | None:
    """What draws in the policy's place, where the run names it."""
    if run.spec.sampler == "policy":
        return None
    from trainers.sampling.vllm import Engine

    return Engine(policy, dtype=SAMPLERS[run.spec.sampler], seed=run.seed % 2**32)


def _rows(scored: Scored) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for index, (prompt, text) in enumerate(zip(scored.prompts, scored.texts, strict=True)):
        scores = {"score": scored.score[index].item(), "objective/kl": scored.kl[index].item()}
        if scored.gold is not None:
            scores["gold"] = scored.gold[index].item()
        length = int(scored.samples.mask[index].sum())
        rows.append(
            {"index": index, "prompt": prompt_text(prompt), "text": text, "scores": scores, "length": length}
        )
    return rows
