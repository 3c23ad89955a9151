"""Best of n: the answer that a reward model likes best among n draws, to be judged against one plain draw.

For each prompt draw y_0, y_1, …, y_n from pi at the sampling temperature, all independently, and ask people

    y_best = argmax_{1 <= i <= n} r(x, y_i)     or     y_0 ?

(Stiennon et al. 2020, arXiv:2009.01325; Nakano et al. 2021, arXiv:2112.09332.) The plain answer is none of the n, so
the share of judgements for y_best is the win rate of best-of-n over its policy: whether what the reward model likes is
liked. Every item is also a fresh comparison on the policy's own answers, where the reward model is put to its hardest
test. Of the n + 1 scores an unbiased mean of the best of every smaller number is reported, beside the bound
log n - (n - 1) / n on how far it is from the policy (Beirami et al. 2024, arXiv:2401.01879). Nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from trainers.data import Batches
from trainers.nn import digest, load_policy, load_reward_model
from trainers.registry import Count, Positive, Several
from trainers.run import Run
from trainers.sampling import sample_answers
from trainers.sampling.best_of_n import kl_bound, mean_of_best, pick
from trainers.sampling.items import item, questions, sample_row, source, write

TRIES = 4
"""Draws of n + 1 answers for one prompt before it is given up: the best may well say what the plain one says."""


@dataclass(frozen=True)
class Config:
    """What can be set."""

    count: Count = 50
    """Comparisons to write."""
    n: Several = 16
    """Answers to choose the best from, at least 2. One more is drawn to compare it with."""
    prompts: Literal["snapshot", "rule"] = "snapshot"
    """Where the prompts come from: the snapshot, or the list that belongs to the run's stated gold rule."""
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_new_tokens: Count = 128
    """Longest answer."""
    batch_size: Count = 8
    """Prompts answered at once, n + 1 times each."""


def train(config: Config, run: Run) -> None:
    policy = load_policy(run.input("policy"), run.device).eval()
    reward_model = load_reward_model(run.input("reward_model"), run.device).eval()
    plain = source(run, "policy", config.temperature)
    best = {
        "policy": f"{plain['policy']}, best of {config.n}",
        "source": {**plain["source"], "best_of": config.n, "reward_model": digest(run.input("reward_model"))},
    }
    asked = questions(run, config.prompts)
    order = Batches([1] * len(asked), 1, run.seed)

    @torch.no_grad()
    def draw(rows: Sequence[int]) -> tuple[list[list[str]], torch.Tensor]:
        """Texts and scores [B, 1 + n] of fresh answers; the first is the plain one."""
        part = [asked[row] for row in rows]
        drawn = sample_answers(
            policy, part, 1 + config.n, config.max_new_tokens, config.temperature, run.generator
        )
        scores = reward_model.score(drawn.prompts, drawn.texts).view(len(part), 1 + config.n)
        texts = [drawn.texts[i : i + 1 + config.n] for i in range(0, len(drawn.texts), 1 + config.n)]
        return texts, scores

    total = math.ceil(config.count / config.batch_size)
    for step in run.steps(total, {"order": order}):
        items = run.memory.setdefault("items", [])
        wanted = min(config.batch_size, config.count - (step - 1) * config.batch_size)
        waiting = [next(order)[0] for _ in range(wanted)]
        shown: list[dict[str, Any]] = []
        for attempt in range(TRIES):
            if not waiting:
                break
            texts, scores = draw(waiting)
            if attempt == 0:  # later ones are drawn only where the first were alike: they would bias a mean
                log = {
                    "search/score": scores.mean().item(),
                    "search/best_score": scores[:, 1:].amax(dim=1).mean().item(),
                }
                remember(run.memory.setdefault("curve", {}), waiting, scores)
            again = []
            for row, said, found, chosen in zip(waiting, texts, scores, pick(scores[:, 1:]), strict=True):
                pair = (said[1 + chosen], said[0])
                if pair[0].strip() and pair[1].strip() and pair[0].strip() != pair[1].strip():
                    candidates = [{"text": pair[0], **best}, {"text": pair[1], **plain}]
                    items.append(item(run, len(items), asked[row], candidates))
                    for text, score in zip(pair, (found[1 + chosen], found[0]), strict=True):
                        shown.append(sample_row(len(shown), asked[row], text, {"score": score.item()}))
                else:
                    again.append(row)
            waiting = again
            run.count("duplicates", len(again))
        run.samples(step, shown)
        counts = {"query/items": len(items), "query/duplicates": run.memory["duplicates"]}
        run.log(step, {**log, **counts})

    if not run.memory["items"]:
        raise ValueError(
            f"In {TRIES} draws the best of {config.n} answers never differed from a plain one, for any of "
            f"{len(asked)} prompts. Raise the temperature, or choose another policy."
        )
    write(run, run.memory["items"], total, config.count)
    run.report(report(run.memory["curve"], config.n, len(run.memory["items"])))


def sizes(n: int) -> list[int]:
    """1, 2, 4, … and n."""
    return sorted({n, *(2**i for i in range(n.bit_length()))})


def remember(curve: dict[str, list[float]], rows: Sequence[int], scores: torch.Tensor) -> None:
    """Adds to each prompt's [times drawn, sum of its mean best of 1, of 2, of 4, …]; scores [B, 1 + n]."""
    means = torch.stack([mean_of_best(scores, k) for k in sizes(scores.shape[1] - 1)], dim=1)  # [B, sizes]
    for row, found in zip(rows, means.tolist(), strict=True):
        before = curve.get(str(row), [0.0] * (1 + len(found)))
        curve[str(row)] = [old + more for old, more in zip(before, [1.0, *found], strict=True)]


def report(curve: Mapping[str, Sequence[float]], n: int, written: int) -> dict[str, Any]:
    """Mean score at each number of draws, with its 95 % interval over prompts, and the bound on the KL."""
    by_prompt = torch.tensor([[value / one[0] for value in one[1:]] for one in curve.values()]).double()
    means = by_prompt.mean(dim=0).tolist()
    errors = (by_prompt.std(dim=0) / len(by_prompt) ** 0.5).tolist() if len(by_prompt) > 1 else None
    readings: dict[str, Any] = {"items": {"label": "Comparisons", "value": written}}
    for index, k in enumerate(sizes(n)):
        reading = {"label": f"Score, best of {k}" if k > 1 else "Score, plain", "value": means[index]}
        if errors:
            reading |= {
                "low": means[index] - 1.96 * errors[index],
                "high": means[index] + 1.96 * errors[index],
            }
        readings[f"score_{k}"] = reading
        readings[f"kl_{k}"] = {"label": f"KL of the best of {k}, at most (nats)", "value": kl_bound(k)}
    text = (
        f"The best of {n} scores {means[-1] - means[0]:+.3g} over a plain answer, "
        f"at most {kl_bound(n):.3g} nats away. How often people agree, their judgements will tell."
    )
    curves = {
        "best_of_n": {
            "label": "Score of the best of n against its KL",
            "x_label": "Bound on the KL, nats",
            "y_label": "Mean score",
            "n": sizes(n),
            "x": [kl_bound(k) for k in sizes(n)],
            "y": means,
        }
    }
    return {"readings": readings, "curves": curves, "text": text}
