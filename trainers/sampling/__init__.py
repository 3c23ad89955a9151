"""Answers drawn from a policy, as ids to learn from and as texts to score and to show."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainers.nn import Policy, Samples
from trainers.records import Prompt

__all__ = ["Answers", "sample_answers"]


@dataclass(frozen=True)
class Answers:
    """n answers to each prompt; row b * n + i is the i-th answer to prompt b, here as in `samples`."""

    samples: Samples
    """What to learn from: ids, exact log-probabilities, which answers ended."""
    prompts: list[Prompt]
    """Each prompt n times."""
    texts: list[str]
    """What to score and to show. Never to be encoded again: another tokenisation is another answer."""


@torch.no_grad()
def sample_answers(
    policy: Policy,
    prompts: Sequence[Prompt],
    n: int,
    max_new: int,
    temperature: float,
    generator: torch.Generator,
) -> Answers:
    """n answers to each prompt, from the whole distribution at a temperature."""
    samples = policy.sample([policy.encode(one) for one in prompts], n, max_new, temperature, generator)
    repeated = [prompt for prompt in prompts for _ in range(n)]
    return Answers(samples=samples, prompts=repeated, texts=[policy.decode(y) for y in samples.y])
