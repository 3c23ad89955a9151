"""Reward models that look at answers, a JSON object a line: what `python -m trainers score` does.

In:  {"id", "prompt" or "messages", "answers": […]}, until standard input ends
Out: {"id", "scores": [[of the first model, an answer each], [of the second], …]}, in the same order

An ensemble is its members here: each gives scores of its own, so that one folder says what is disputed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from trainers.nn import RewardModel, load_reward_model
from trainers.nn.ensemble import EnsembleReward
from trainers.records import Message, Prompt

ROWS_AT_ONCE = 64


def prompt_of(row: dict[str, Any]) -> Prompt:
    if "prompt" in row:
        return str(row["prompt"])
    return tuple(Message(one["role"], one["content"]) for one in row["messages"])


def opinions(model: RewardModel, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
    """[N, B] scores of an ensemble's N members, or [1, B] of a single model."""
    if isinstance(model, EnsembleReward):
        return model.scores(prompts, answers)
    return model.score(prompts, answers)[None]


def scored(models: Sequence[RewardModel], lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Each row with every model's score of every answer of it."""
    rows = (json.loads(line) for line in lines if line.strip())
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        prompts = [prompt_of(row) for row in batch for _ in row["answers"]]
        answers = [answer for row in batch for answer in row["answers"]]
        with torch.no_grad():
            scores = [one.tolist() for model in models for one in opinions(model, prompts, answers)]
        at = 0
        for row in batch:
            until = at + len(row["answers"])
            yield {"id": row["id"], "scores": [one[at:until] for one in scores]}
            at = until


def score(paths: Sequence[Path], source: IO[str], sink: IO[str], *, device: str, threads: int) -> None:
    """Loads the models, and scores what comes."""
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    models = [load_reward_model(path, device).eval() for path in paths]
    for row in scored(models, source):
        sink.write(json.dumps(row) + "\n")
