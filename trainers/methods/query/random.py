"""Random comparisons: two different answers to a prompt, to be judged by people.

The baseline that every cleverer way of choosing questions has to beat: prompts in a shuffled order, each
once before any comes again, and two independent draws from the policy, or one each from the policy and a
rival. Pairs that a person could not tell apart, or that hold an empty answer, are drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainers.data import Batches
from trainers.nn import Policy, load_policy
from trainers.records import Prompt
from trainers.registry import Count, Positive
from trainers.run import Run
from trainers.sampling import sample_answers
from trainers.sampling.items import item, questions, sample_row, source, write

TRIES = 8
"""Draws for one prompt before it is given up: a policy may have only one thing to say."""


@dataclass(frozen=True)
class Config:
    """What can be set."""

    count: Count = 50
    """Comparisons to write."""
    prompts: Literal["snapshot", "rule"] = "snapshot"
    """Where the prompts come from: the snapshot, or the list that belongs to the run's stated gold rule."""
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_new_tokens: Count = 128
    """Longest answer."""
    batch_size: Count = 16
    """Prompts answered at once."""


def train(config: Config, run: Run) -> None:
    policy = load_policy(run.input("policy"), run.device).eval()
    rival = load_policy(run.input("rival"), run.device).eval() if "rival" in run.inputs else policy
    sources = [
        source(run, role, config.temperature)
        for role in ("policy", "rival" if rival is not policy else "policy")
    ]
    asked = questions(run, config.prompts)
    order = Batches([1] * len(asked), 1, run.seed)

    def texts_of(one: Policy, part: Sequence[Prompt], n: int) -> list[str]:
        drawn = sample_answers(one, part, n, config.max_new_tokens, config.temperature, run.generator)
        return drawn.texts

    def draw(part: Sequence[Prompt]) -> list[tuple[str, str]]:
        """Two answers to each prompt."""
        if rival is policy:
            texts = texts_of(policy, part, 2)
            return list(zip(texts[::2], texts[1::2], strict=True))
        return list(zip(texts_of(policy, part, 1), texts_of(rival, part, 1), strict=True))

    total = math.ceil(config.count / config.batch_size)
    for step in run.steps(total, {"order": order}):
        items = run.memory.setdefault("items", [])
        wanted = min(config.batch_size, config.count - (step - 1) * config.batch_size)
        waiting = [asked[next(order)[0]] for _ in range(wanted)]
        shown: list[dict[str, Any]] = []
        for _ in range(TRIES):
            if not waiting:
                break
            again = []
            for prompt, (ours, theirs) in zip(waiting, draw(waiting), strict=True):
                if ours.strip() and theirs.strip() and ours.strip() != theirs.strip():
                    texts = (ours, theirs)
                    candidates = [{"text": text, **sources[side]} for side, text in enumerate(texts)]
                    items.append(item(run, len(items), prompt, candidates))
                    shown += [sample_row(len(shown) + side, prompt, text) for side, text in enumerate(texts)]
                else:
                    again.append(prompt)
            waiting = again
            run.count("duplicates", len(again))
        run.samples(step, shown)
        run.log(step, {"query/items": len(items), "query/duplicates": run.memory["duplicates"]})

    if not run.memory["items"]:
        raise ValueError(
            f"In {TRIES} draws the policy gave no two different answers to any of {len(asked)} prompts. "
            "Raise the temperature, or name a rival."
        )
    write(run, run.memory["items"], total, config.count)
    run.report({"readings": {"items": {"label": "Comparisons", "value": len(run.memory["items"])}}})
