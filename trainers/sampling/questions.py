"""Comparisons that are drawn and weighed before they are asked: what the choosing methods of asking have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from trainers.nn import Policy, load_policy, load_reward_model
from trainers.nn.ensemble import EnsembleReward
from trainers.records import Prompt, canonical, prompt_json
from trainers.records.prompts import read_prompt
from trainers.run import Run
from trainers.sampling import sample_answers
from trainers.sampling.items import item, sample_row, source

BEST = 2
"""Pairs of a prompt that are kept each time it is looked at."""
SHOWN = 16
"""Comparisons that the run's page shows."""


def judges(run: Run) -> EnsembleReward:
    """The run's reward models. One alone can be unsure, but it cannot say whether a label would change that."""
    found = load_reward_model(run.input("reward_model"), run.device)
    if not isinstance(found, EnsembleReward):
        raise ValueError(
            f"The reward model in {run.input('reward_model')} is a single one (kind {found.kind!r}): with nobody to "
            f"differ from, it cannot say what is worth asking. Train reward/ensemble on the same labels and name what "
            f"it makes as the reward_model, or ask with query/random."
        )
    return found.eval()


@dataclass(frozen=True)
class Answer:
    """A candidate: what it says, and which of the writers said it."""

    text: str
    writer: int


class Writers:
    """The policy, and the rival where the run names one."""

    def __init__(self, run: Run, temperature: float, max_new_tokens: int) -> None:
        self.run, self.temperature, self.max_new_tokens = run, temperature, max_new_tokens
        roles = ["policy", *(["rival"] if "rival" in run.inputs else [])]
        self.policies: list[Policy] = [load_policy(run.input(role), run.device).eval() for role in roles]
        self.sources = [source(run, role, temperature) for role in roles]

    def draw(self, part: Sequence[Prompt], n: int) -> list[list[Answer]]:
        """About n answers to each prompt, the writers taking equal parts: those that differ and are not empty."""
        found: list[dict[str, Answer]] = [{} for _ in part]
        each = -(-n // len(self.policies))
        for writer, policy in enumerate(self.policies):
            drawn = sample_answers(
                policy, part, each, self.max_new_tokens, self.temperature, self.run.generator
            )
            for place, text in enumerate(drawn.texts):
                if text.strip():
                    found[place // each].setdefault(text.strip(), Answer(text, writer))
        self.run.count("duplicates", each * len(self.policies) * len(part) - sum(map(len, found)))
        return [list(one.values()) for one in found]

    def pairs(self, answers: Sequence[Answer]) -> list[tuple[int, int]]:
        """The places of every two answers that may be compared: with a rival, one of each."""
        every = combinations(range(len(answers)), 2)
        alone = len(self.policies) == 1
        return [(i, j) for i, j in every if alone or answers[i].writer != answers[j].writer]


def probabilities(
    models: EnsembleReward, prompt: Prompt, answers: Sequence[Answer], pairs: Sequence[tuple[int, int]]
) -> Tensor:
    """[N, B] each of N models' probability that the first of a pair is preferred to the second."""
    scores = models.scores([prompt] * len(answers), [one.text for one in answers])
    first, second = (torch.tensor(places, dtype=torch.int64) for places in zip(*pairs, strict=True))
    return torch.sigmoid(scores[:, first] - scores[:, second])


def keep(
    pool: list[dict[str, Any]],
    prompt: Prompt,
    answers: Sequence[Answer],
    pairs: Sequence[tuple[int, int]],
    worth: Tensor,
) -> None:
    """Adds the pairs of a prompt that are worth most; JSON, for a checkpoint to hold. `worth` [B]."""
    for place in worth.argsort(descending=True, stable=True)[:BEST].tolist():
        two = [answers[side] for side in pairs[place]]
        pool.append(
            {
                "prompt": prompt_json(prompt),
                "texts": [one.text for one in two],
                "writers": [one.writer for one in two],
                "worth": worth[place].item(),
            }
        )


def choose(pool: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The `count` of a pool that are worth most: a prompt's second comparison counts half of its worth, its third a
    third, since an answer to the first says something about it. No comparison comes twice.

    What is left out never comes back when the pool grows, so a pool can be replaced by what was chosen from it.
    """
    of_prompt: dict[str, dict[str, dict[str, Any]]] = {}
    for one in pool:
        of_prompt.setdefault(canonical(one["prompt"]), {})[canonical(sorted(one["texts"]))] = one
    ranked = []
    for pairs in of_prompt.values():
        in_order = sorted(pairs.values(), key=lambda one: -one["worth"])
        ranked += [(one["worth"] / place, one) for place, one in enumerate(in_order, start=1)]
    return [one for _, one in sorted(ranked, key=lambda valued: -valued[0])[:count]]


def items_of(run: Run, writers: Writers, chosen: Sequence[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    """What was chosen, as items that a study takes; the first of them are shown on the run's page."""
    if not chosen:
        raise ValueError(
            "The policy gave no two different answers to any prompt that was looked at. Raise the temperature or the "
            "number of candidates, or name a rival."
        )
    items, shown = [], []
    for index, one in enumerate(chosen):
        prompt = read_prompt(one["prompt"], "prompt", 0)
        texts = zip(one["texts"], one["writers"], strict=True)
        candidates = [{"text": text, **writers.sources[writer]} for text, writer in texts]
        made = item(run, index, prompt, candidates)
        items.append({**made, "source": {**made["source"], "worth": one["worth"]}})
        if index < SHOWN:
            shown += [
                sample_row(2 * index + side, prompt, text, {"worth": one["worth"]})
                for side, text in enumerate(one["texts"])
            ]
    run.samples(step, shown)
    return items
