"""Policies kept in memory that answer requests, a JSON object a line: what `python -m trainers serve` does.

In:  {"id", "prompt" or "messages", "n", "temperature", "seed", "max_new_tokens", "policy"}
Out: {"ready": true} once the models are loaded, then for each request {"id", "texts"} or {"id", "problem"}

`policy` is the place of the policy on the command line, 0 for the first. The same request gives the same texts.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from trainers.nn import Policy, load_policy
from trainers.records import ROLES, Message, Prompt
from trainers.sampling import sample_answers

MOST_ANSWERS = 64
MOST_TOKENS = 4096


@dataclass(frozen=True)
class Request:
    """What is asked: n answers of one policy to one prompt."""

    prompt: Prompt
    n: int = 1
    temperature: float = 1.0
    seed: int = 0
    max_new_tokens: int = 128
    policy: int = 0

    @classmethod
    def read(cls, row: dict[str, Any], policies: int) -> Request:
        """Checked; a ValueError names the field, what was found and what was expected."""
        if unknown := sorted(set(row) - {"id", "messages", *cls.__dataclass_fields__}):
            raise ValueError(
                f"Found {', '.join(unknown)}; a request knows {', '.join(cls.__dataclass_fields__)}, messages, id."
            )
        temperature = row.get("temperature", 1.0)
        if type(temperature) not in (int, float) or not 0 < temperature <= 10:
            raise ValueError(f"temperature is {temperature!r}; expected a number above 0, at most 10.")
        return cls(
            prompt=_prompt(row),
            n=_whole(row, "n", 1, 1, MOST_ANSWERS),
            temperature=float(temperature),
            seed=_whole(row, "seed", 0, 0, 2**63 - 1),
            max_new_tokens=_whole(row, "max_new_tokens", 128, 1, MOST_TOKENS),
            policy=_whole(row, "policy", 0, 0, policies - 1),
        )


def _prompt(row: dict[str, Any]) -> Prompt:
    if ("prompt" in row) == ("messages" in row):
        raise ValueError("Expected either a prompt, which is a text, or messages.")
    if "prompt" in row:
        if not isinstance(row["prompt"], str):
            raise ValueError(f"prompt is {row['prompt']!r}; expected a text.")
        return row["prompt"]
    turns = row["messages"]
    if not isinstance(turns, list) or not turns or not all(_is_message(one) for one in turns):
        raise ValueError(
            'messages must be a list of {"role", "content"}, with a role of ' + ", ".join(ROLES) + "."
        )
    return tuple(Message(one["role"], one["content"]) for one in turns)


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and value["role"] in ROLES
        and isinstance(value["content"], str)
    )


def _whole(row: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = row.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; expected a whole number from {low} to {high}.")
    return value


def answer(policies: Sequence[Policy], request: Request) -> list[str]:
    """The texts that the policy draws for this request."""
    policy = policies[request.policy]
    generator = torch.Generator(policy.device).manual_seed(request.seed)
    drawn = sample_answers(
        policy, [request.prompt], request.n, request.max_new_tokens, request.temperature, generator
    )
    return drawn.texts


def reply(policies: Sequence[Policy], line: str) -> dict[str, Any]:
    """What is said to one line, whatever is in it."""
    name = None
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"Found {line[:60]!r}; expected a JSON object.")
        name = row.get("id")
        return {"id": name, "texts": answer(policies, Request.read(row, len(policies)))}
    except (
        Exception
    ) as problem:  # a wrong request, a template that refuses it, no memory: the next may well be served
        return {"id": name, "problem": str(problem) or type(problem).__name__}


def lines_until_gone(source: IO[str]) -> Iterable[str]:
    """The lines as they come. When whoever asks is gone, so is this process, even in the middle of an answer."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in source:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=listen, name="listener", daemon=True).start()
    while True:
        yield waiting.get()


def serve(paths: Sequence[Path], *, device: str = "auto", threads: int = 1) -> None:
    """Loads the policies and answers until standard input ends."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the console, not between the answers
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    policies = [load_policy(path, device).eval() for path in paths]

    def say(row: dict[str, Any]) -> None:
        said.write(json.dumps(row) + "\n")
        said.flush()

    say({"ready": True})
    for line in lines_until_gone(sys.stdin):
        say(reply(policies, line))
