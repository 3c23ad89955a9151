"""Answers to given prompts, in whichever way they are asked for: what `python -m trainers sample` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainers.fit import parts
from trainers.nn import Policy, RewardModel
from trainers.records import Prompt
from trainers.registry import ConfigError, check_seed
from trainers.sampling import Answers, beginning, sample_answers
from trainers.sampling.beam import beam_search
from trainers.sampling.best_of_n import best_of_n
from trainers.sampling.display import texts_to_show

AT_ONCE = 16
"""Prompts answered at once."""


@dataclass(frozen=True)
class Settings:
    """How to answer."""

    n: int = 1
    """Answers to each prompt."""
    temperature: float = 1.0
    max_new_tokens: int = 128
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts before the first of which an answer ends."""
    begin: str = ""
    """The text that every answer begins with."""
    top_p: float = 1.0
    top_k: int = 0
    beam: int = 0
    """Width of a beam search in place of sampling; 0 samples."""
    best_of: int = 1
    """Draws from which each answer is chosen."""

    def check(self, judged: bool) -> None:
        """Raises ConfigError with the name of the first setting that cannot be; `judged`: there is a reward model."""
        check_seed(self.seed)
        for name in ("n", "max_new_tokens", "best_of"):
            if getattr(self, name) < 1:
                raise ConfigError(name, f"'{name}' is {getattr(self, name)}. Expected 1 or more.")
        for name in ("top_k", "beam"):
            if getattr(self, name) < 0:
                raise ConfigError(name, f"'{name}' is {getattr(self, name)}. Expected 0 or more.")
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(
                "temperature", f"'temperature' is {self.temperature}. Expected a number above 0."
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError("top_p", f"'top_p' is {self.top_p}. Expected a number above 0 and at most 1.")
        if "" in self.stop:
            raise ConfigError("stop", "A stop string is empty. Expected some text.")
        if self.best_of > 1 and not judged:
            raise ConfigError("best_of", "The best of several is chosen by a reward model: name one.")
        ways = {
            "top_p": self.top_p < 1,
            "top_k": self.top_k > 0,
            "beam": self.beam > 0,
            "best_of": self.best_of > 1,
        }
        chosen = [name for name, given in ways.items() if given]
        if len(chosen) > 1 and chosen != ["top_p", "top_k"]:
            raise ConfigError(chosen[1], f"'{chosen[1]}' cannot go with '{chosen[0]}'. Choose one.")
        if chosen and self.begin:
            raise ConfigError("begin", f"'begin' cannot go with '{chosen[0]}'. Choose one.")
        if self.beam and self.stop:
            raise ConfigError("stop", "'stop' cannot go with 'beam'. Choose one.")
        if self.beam and self.n > self.beam:
            raise ConfigError(
                "n", f"'n' is {self.n}, and the beam is {self.beam} wide. Widen it, or ask for fewer."
            )


def answers(
    policy: Policy, judge: RewardModel | None, asked: Sequence[Prompt], settings: Settings
) -> list[list[dict[str, Any]]]:
    """For each prompt its answers, each with its "text" and what is known of it."""
    generator = torch.Generator(policy.device).manual_seed(settings.seed)
    found: list[list[dict[str, Any]]] = []
    for part in parts(asked, AT_ONCE):
        if settings.beam:
            found += _searched(policy, part, settings)
        else:
            rows = _drawn(policy, judge, part, settings, generator)
            found += [rows[i : i + settings.n] for i in range(0, len(rows), settings.n)]
    return found


def _searched(policy: Policy, asked: Sequence[Prompt], how: Settings) -> list[list[dict[str, Any]]]:
    """For each prompt the n likeliest answers of its beam."""
    return [
        [
            {"text": one.text, "logp": one.logp, "tokens": len(one.y), "finished": one.finished}
            for one in beams[: how.n]
        ]
        for beams in beam_search(policy, asked, how.beam, how.max_new_tokens)
    ]


def _drawn(
    policy: Policy,
    judge: RewardModel | None,
    asked: Sequence[Prompt],
    how: Settings,
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    """Row b * n + i is the i-th answer to prompt b."""
    length, temperature = how.max_new_tokens, how.temperature
    if how.top_p < 1 or how.top_k:
        texts = texts_to_show(
            policy, asked, how.n, length, temperature, generator,
            top_p=how.top_p, top_k=how.top_k, stop=how.stop,
        )  # fmt: skip
        return [{"text": text} for text in texts]
    if how.best_of > 1 and judge is not None:
        repeated = [prompt for prompt in asked for _ in range(how.n)]
        best = best_of_n(policy, judge, repeated, how.best_of, length, temperature, generator, stop=how.stop)
        scores = best.scores.amax(dim=1).tolist()
        return [
            {**described(best.answers, row), "score": score}
            for row, score in zip(best.row.tolist(), scores, strict=True)
        ]
    forced = [beginning(policy, prompt, how.begin) for prompt in asked] if how.begin else None
    drawn = sample_answers(policy, asked, how.n, length, temperature, generator, forced=forced, stop=how.stop)
    return [described(drawn, row) for row in range(len(drawn.texts))]


def described(drawn: Answers, row: int) -> dict[str, Any]:
    """One drawn answer: its text, the log-probability and number of the tokens drawn, and whether it ended."""
    samples = drawn.samples
    return {
        "text": drawn.texts[row],
        "logp": samples.logp_tok[row].sum().item(),
        "tokens": int(samples.mask[row].sum()),
        "finished": bool(samples.finished[row]),
    }
