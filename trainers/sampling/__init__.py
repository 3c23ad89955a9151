"""Answers drawn from a policy, as ids to learn from and as texts to score and to show."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.nn import Hook, Policy, Samples, draw
from trainers.records import Prompt

__all__ = ["Answers", "beginning", "sample_answers"]


@dataclass(frozen=True)
class Answers:
    """n answers to each prompt; row b * n + i is the i-th answer to prompt b, here as in `samples`."""

    samples: Samples
    """What to learn from: ids, exact log-probabilities, which answers ended."""
    prompts: list[Prompt]
    """Each prompt n times."""
    texts: list[str]
    """What to score and to show. Never to be encoded again: another tokenisation is another answer."""
    forced: Tensor
    """[B * n, T] bool: tokens that were given and not drawn. They are in no mask, and in the text."""


@torch.no_grad()
def sample_answers(
    policy: Policy,
    prompts: Sequence[Prompt],
    n: int,
    max_new: int,
    temperature: float,
    generator: torch.Generator,
    *,
    forced: Sequence[Tensor] | None = None,
    stop: Sequence[str] = (),
    hook: Hook | None = None,
) -> Answers:
    """n answers to each prompt, from the whole distribution at a temperature.

    forced: the ids that each prompt's answers begin with, such as `beginning` makes; max_new more are drawn at most.
    stop: an answer ends with the token that completes one of these texts. What was drawn stays as it is, that token
    included; the text ends before the first of them.
    hook: what turns logits into those to draw from (a mask, values added). The log-probabilities are then those of the
    distribution that was drawn from, and no longer the policy's.
    """
    if "" in stop:
        raise ValueError("An empty stop string would end every answer before it began: leave it out.")
    given = [""] * len(prompts) if forced is None else [policy.decode(ids) for ids in forced]
    for text in given:
        if found := [one for one in stop if one in text]:
            raise ValueError(f"The forced beginning {text!r} holds the stop string {found[0]!r} already.")

    def stops(_row: int, ids: Tensor) -> bool:
        text = policy.decode(ids)
        return any(one in text for one in stop)

    drawn = draw(
        policy,
        [policy.encode(one) for one in prompts],
        n,
        max_new,
        temperature,
        generator,
        forced=forced,
        hook=hook,
        stop=stops if stop else None,
    )
    repeated = [prompt for prompt in prompts for _ in range(n)]
    texts = [cut(policy.decode(y), stop) for y in drawn.samples.y]
    return Answers(samples=drawn.samples, prompts=repeated, texts=texts, forced=drawn.forced)


def beginning(policy: Policy, prompt: Prompt, text: str) -> Tensor:
    """The ids [F] of a text that answers are to begin with. What follows may be tokenised otherwise than as a whole."""
    ids = policy.encode_pair(prompt, text)[1]
    return ids[:-1] if policy.eos is not None and len(ids) and ids[-1] == policy.eos else ids


def cut(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the stop strings."""
    return text[: min((text.index(one) for one in stop if one in text), default=len(text))]
