"""Policies kept in memory that answer requests, a JSON object a line: what `python -m trainers serve` does.

In:  {"id", "prompt" or "messages", "n", "temperature", "seed", "max_new_tokens", "policy",
      "stop", "top_p", "top_k", "best_of"}
Out: {"ready": true} once the models are loaded, then for each request {"id", "texts"} or {"id", "problem"}

`policy` is the place of the policy on the command line, 0 for the first. The same request gives the same texts. All but
the prompt may be left out. `stop` is a list of texts, before the first of which an answer ends. `top_p` and `top_k`
draw from the likelier tokens alone, which is for looking and not for learning. `best_of` gives for each text the best
of so many draws, by the reward model that this process was started with; the reply then has their "scores" too.
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

from trainers.nn import Policy, RewardModel, load_policy, load_reward_model
from trainers.records import ROLES, Message, Prompt
from trainers.sampling.best_of_n import best_of_n
from trainers.sampling.display import texts_to_show

MOST_ANSWERS = 64
MOST_TOKENS = 4096
MOST_STOPS = 8
MOST_DRAWN = 256
"""Answers drawn for one request, those not chosen included."""


@dataclass(frozen=True)
class Request:
    """What is asked: n answers of one policy to one prompt."""

    prompt: Prompt
    n: int = 1
    temperature: float = 1.0
    seed: int = 0
    max_new_tokens: int = 128
    policy: int = 0
    stop: tuple[str, ...] = ()
    top_p: float = 1.0
    top_k: int = 0
    best_of: int = 1

    @classmethod
    def read(cls, row: dict[str, Any], policies: int) -> Request:
        """Checked; a ValueError names the field, what was found and what was expected."""
        if unknown := sorted(set(row) - {"id", "messages", *cls.__dataclass_fields__}):
            raise ValueError(
                f"Found {', '.join(unknown)}; a request knows {', '.join(cls.__dataclass_fields__)}, messages, id."
            )
        n = _whole(row, "n", 1, 1, MOST_ANSWERS)
        found = cls(
            prompt=_prompt(row),
            n=n,
            temperature=_number(row, "temperature", 1.0, 10),
            seed=_whole(row, "seed", 0, 0, 2**63 - 1),
            max_new_tokens=_whole(row, "max_new_tokens", 128, 1, MOST_TOKENS),
            policy=_whole(row, "policy", 0, 0, policies - 1),
            stop=_stop(row),
            top_p=_number(row, "top_p", 1.0, 1),
            top_k=_whole(row, "top_k", 0, 0, 2**31 - 1),
            best_of=_whole(row, "best_of", 1, 1, MOST_DRAWN // n),
        )
        if found.best_of > 1 and (found.top_p < 1 or found.top_k):
            raise ValueError(
                "best_of chooses among draws from the whole distribution: leave out top_p and top_k."
            )
        return found


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


def _number(row: dict[str, Any], name: str, default: float, high: float) -> float:
    value = row.get(name, default)
    if type(value) not in (int, float) or not 0 < value <= high:
        raise ValueError(f"{name} is {value!r}; expected a number above 0, at most {high:g}.")
    return float(value)


def _stop(row: dict[str, Any]) -> tuple[str, ...]:
    value = row.get("stop", [])
    if (
        not isinstance(value, list)
        or len(value) > MOST_STOPS
        or not all(isinstance(one, str) and one for one in value)
    ):
        raise ValueError(f"stop is {value!r}; expected a list of at most {MOST_STOPS} texts, none empty.")
    return tuple(value)


def answer(
    policies: Sequence[Policy], request: Request, reward_model: RewardModel | None = None
) -> dict[str, Any]:
    """The texts that the policy draws for this request, and their scores where it asks for the best of some."""
    policy = policies[request.policy]
    generator = torch.Generator(policy.device).manual_seed(request.seed)
    length, temperature = request.max_new_tokens, request.temperature
    if request.best_of == 1:
        texts = texts_to_show(
            policy, [request.prompt], request.n, length, temperature, generator,
            top_p=request.top_p, top_k=request.top_k, stop=request.stop,
        )  # fmt: skip
        return {"texts": texts}
    if reward_model is None:
        raise ValueError("best_of needs a reward model, and this process was started without one.")
    best = best_of_n(
        policy, reward_model, [request.prompt] * request.n, request.best_of, length, temperature, generator,
        stop=request.stop,
    )  # fmt: skip
    return {"texts": best.texts, "scores": best.scores.amax(dim=1).tolist()}


def reply(policies: Sequence[Policy], line: str, reward_model: RewardModel | None = None) -> dict[str, Any]:
    """What is said to one line, whatever is in it."""
    name = None
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"Found {line[:60]!r}; expected a JSON object.")
        name = row.get("id")
        return {"id": name, **answer(policies, Request.read(row, len(policies)), reward_model)}
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


def serve(
    paths: Sequence[Path], *, reward_model: Path | None = None, device: str = "auto", threads: int = 1
) -> None:
    """Loads the policies and answers until standard input ends."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the console, not between the answers
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    policies = [load_policy(path, device).eval() for path in paths]
    judge = None if reward_model is None else load_reward_model(reward_model, device).eval()

    def say(row: dict[str, Any]) -> None:
        said.write(json.dumps(row) + "\n")
        said.flush()

    say({"ready": True})
    for line in lines_until_gone(sys.stdin):
        say(reply(policies, line, judge))
