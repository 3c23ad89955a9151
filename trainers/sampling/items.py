"""Answers for people to judge, as items that a study takes: what the methods of asking have in common."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from trainers.data import prompts, read_records
from trainers.nn import digest
from trainers.records import Prompt, canonical, prompt_json, prompt_text
from trainers.registry import PROMPTS
from trainers.run import Run


def questions(run: Run, where: str) -> Sequence[Prompt]:
    """The prompts to ask about: the "snapshot"'s, or those of the run's stated "rule"."""
    if where == "snapshot":
        return prompts(read_records(run.snapshot, PROMPTS))
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


def sample_row(
    index: int, prompt: Prompt, text: str, scores: dict[str, float] | None = None
) -> dict[str, Any]:
    """A candidate as a run's page shows it."""
    return {
        "index": index,
        "prompt": prompt_text(prompt),
        "text": text,
        "scores": scores or {},
        "length": len(text),
    }


def write(run: Run, items: Sequence[dict[str, Any]], step: int, asked: int) -> None:
    """Leaves `items.jsonl`, one item a line, as the run's artifact."""
    path = run.home / "items.jsonl"
    path.write_text("".join(canonical(one) + "\n" for one in items), encoding="utf-8")
    run.artifact("items", "items", path, step, {"count": len(items), "asked": asked})
