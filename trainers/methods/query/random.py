"""Random comparisons: two different answers to a prompt, to be judged by people.

The baseline that every cleverer way of choosing questions has to beat: prompts in a shuffled order, each
once before any comes again, and two independent draws from the policy, or one each from the policy and a
rival. Pairs that a person could not tell apart, or that hold an empty answer, are drawn again.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trainers.data import Batches, prompts, read_records
from trainers.nn import Policy, digest, load_policy
from trainers.records import Prompt, canonical, prompt_json, prompt_text
from trainers.registry import Count, Positive
from trainers.run import Run
from trainers.sampling import sample_answers

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
    asked = questions(config, run)
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
    path = run.home / "items.jsonl"
    path.write_text("".join(canonical(one) + "\n" for one in run.memory["items"]), encoding="utf-8")
    run.artifact("items", "items", path, total, {"count": len(run.memory["items"]), "asked": config.count})
    run.report({"readings": {"items": {"label": "Comparisons", "value": len(run.memory["items"])}}})


def questions(config: Config, run: Run) -> list[Prompt]:
    """The prompts to ask about."""
    if config.prompts == "snapshot":
        return prompts(read_records(run.snapshot, ("pair", "correction", "demonstration")))
    if "gold" not in run.inputs:
        raise ValueError(
            "The prompts of the gold rule are asked for, but this run names no rule. Use the snapshot's."
        )
    return list(importlib.import_module(f"trainers.envs.{run.inputs['gold']}").PROMPTS["train"])


def source(run: Run, role: str, temperature: float) -> dict[str, Any]:
    """Who wrote a candidate: the policy's name, and the lineage that goes with it into every label."""
    identity = digest(run.input(role))
    known = run.spec.sources.get(role, {})
    lineage = {**known, "role": role, "digest": identity, "temperature": temperature}
    name = str(known.get("name") or identity[:12])
    return {"policy": f"{name}, run {known['run']}" if known.get("run") else name, "source": lineage}


def item(run: Run, index: int, prompt: Prompt, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    """An item as a study takes it."""
    name = "prompt" if isinstance(prompt, str) else "messages"
    return {
        "context": {name: prompt_json(prompt)},
        "candidates": candidates,
        "external_id": f"run-{run.spec.run}-{index}",
        "source": {"method": run.spec.method, "run": run.spec.run, "index": index},
    }


def sample_row(index: int, prompt: Prompt, text: str) -> dict[str, Any]:
    return {"index": index, "prompt": prompt_text(prompt), "text": text, "scores": {}, "length": len(text)}
