"""Questions with the most expected information: BALD (Houlsby et al. 2011, arXiv:1112.5745, equation 2).

For each prompt looked at, several answers are drawn, and of every two of them the worth of asking is what the answer is
expected to tell about which member is right, in nats:

    p_i = sigmoid(r_i(x, y) - r_i(x, y'))        worth = H(mean_i p_i) - mean_i H(p_i)

with H(p) = - p log p - (1 - p) log(1 - p). The first term alone would ask where a label is uncertain, and so again and
again where people toss coins; the second takes off what no label can tell. Those worth most are written, a second one
of the same prompt counting half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainers.data import Batches
from trainers.registry import Count, Positive, Several
from trainers.run import Run
from trainers.sampling.items import questions, write
from trainers.sampling.questions import Writers, choose, items_of, judges, keep, probabilities


@dataclass(frozen=True)
class Config:
    """What can be set."""

    count: Count = 50
    """Comparisons to write."""
    look: Count = 4
    """Prompts looked at for each comparison written. More choice, and answers drawn in vain."""
    candidates: Several = 4
    """Answers drawn for a prompt, at least 2, of which any two may be compared; with a rival, half of them its own."""
    prompts: Literal["snapshot", "rule"] = "snapshot"
    """Where the prompts come from: the snapshot, or the list that belongs to the run's stated gold rule."""
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_new_tokens: Count = 128
    """Longest answer."""
    batch_size: Count = 16
    """Prompts answered at once."""


def train(config: Config, run: Run) -> None:
    writers = Writers(run, config.temperature, config.max_new_tokens)
    models = judges(run)
    asked = questions(run, config.prompts)
    order = Batches([1] * len(asked), 1, run.seed)
    total = math.ceil(config.count * config.look / config.batch_size)
    for step in run.steps(total, {"order": order}):
        pool: list[dict[str, Any]] = run.memory.get("chosen", [])
        part = [asked[next(order)[0]] for _ in range(config.batch_size)]
        for prompt, answers in zip(part, writers.draw(part, config.candidates), strict=True):
            if pairs := writers.pairs(answers):
                keep(pool, prompt, answers, pairs, worth(probabilities(models, prompt, answers, pairs)))
        chosen = run.memory["chosen"] = choose(pool, config.count)
        run.log(
            step,
            {
                "query/items": len(chosen),
                "query/worth": sum(one["worth"] for one in chosen) / max(len(chosen), 1),
                "query/duplicates": run.memory["duplicates"],
            },
        )

    chosen = run.memory["chosen"]
    write(run, items_of(run, writers, chosen, total), total, config.count)
    run.report({"readings": {"items": {"label": "Comparisons", "value": len(chosen)}}})


def worth(p: Tensor) -> Tensor:
    """[B] nats from the members' probabilities [N, B]: the mutual information of label and member, at most log 2."""
    return entropy(p.mean(dim=0)) - entropy(p).mean(dim=0)


def entropy(p: Tensor) -> Tensor:
    """-p log p - (1 - p) log(1 - p) in nats, 0 where p is 0 or 1."""
    found: Tensor = -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p))
    return found
