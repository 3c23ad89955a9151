"""Reward models that look at answers, a JSON object a line: what `python -m trainers score` does.

In:  {"id", "prompt" or "messages", "answers": […]}, until standard input ends
Out: {"id", "scores": [[of the first model, an answer each], [of the second], …]}, in the same order

An ensemble is its members here: each gives scores of its own, so that one folder says what is disputed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from trainers.nn import RewardModel, load_reward_model
from trainers.nn.ensemble import EnsembleReward
from trainers.records import Prompt, RecordError, decoded, read_row
from trainers.records.reading import shown
from trainers.sampling.asked import prompt_in

ROWS_AT_ONCE = 64


def asked_on(line: str, number: int) -> tuple[Any, Prompt, list[str]]:
    """The id, the prompt and the answers on a line; RecordError for what is none, with the line and the field."""
    row = read_row(decoded(line.encode("utf-8", "surrogateescape"), number), number)
    prompt, answers = prompt_in(row, number), row.get("answers")
    if not isinstance(answers, list):
        raise RecordError(
            number, "answers", f"found {shown(answers)}, expected a list of texts.", 'Write "answers": ["…"].'
        )
    for place, answer in enumerate(answers):
        if not isinstance(answer, str):
            raise RecordError(
                number,
                f"answers[{place}]",
                f"found {shown(answer)}, expected text.",
                'Write "answers": ["…"].',
            )
    if "id" not in row:
        raise RecordError(number, "id", "found nothing, expected what its scores go by.", 'Write "id": 1.')
    return row["id"], prompt, answers


def opinions(model: RewardModel, prompts: Sequence[Prompt], answers: Sequence[str]) -> Tensor:
    """[N, B] scores of an ensemble's N members, or [1, B] of a single model."""
    if isinstance(model, EnsembleReward):
        return model.scores(prompts, answers)
    return model.score(prompts, answers)[None]


def scored(models: Sequence[RewardModel], lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Each row with every model's score of every answer of it."""
    rows = (asked_on(line, number) for number, line in enumerate(lines, start=1) if line.strip())
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        prompts = [prompt for _, prompt, said in batch for _ in said]
        answers = [answer for _, _, said in batch for answer in said]
        with torch.no_grad():
            scores = [one.tolist() for model in models for one in opinions(model, prompts, answers)]
        at = 0
        for name, _, said in batch:
            until = at + len(said)
            yield {"id": name, "scores": [one[at:until] for one in scores]}
            at = until


def score(paths: Sequence[Path], source: IO[str], sink: IO[str], *, device: str, threads: int) -> None:
    """Loads the models, and scores what comes."""
    torch.set_num_threads(threads)
    if isinstance(source, io.TextIOWrapper):
        # A byte that is no UTF-8 is passed on, so that its line can be named.
        source.reconfigure(encoding="utf-8", errors="surrogateescape")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    models = [load_reward_model(path, device).eval() for path in paths]
    for row in scored(models, source):
        sink.write(json.dumps(row) + "\n")
