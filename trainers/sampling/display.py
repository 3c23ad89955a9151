"""Answers to look at, drawn from the likelier part of the distribution (nucleus, Holtzman et al. 2020,
arXiv:1904.09751, and top-k).

For the eye alone: what was cut away was never drawn, so these answers are no samples of the policy. They come as texts
without ids or log-probabilities, and nothing can be trained on them by mistake.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainers.nn import Hook, Policy
from trainers.records import Prompt
from trainers.sampling import sample_answers


def nucleus(top_p: float, top_k: int, temperature: float) -> Hook:
    """Leaves the top_k likeliest tokens (0 for all), and of these the fewest that hold top_p of the probability.

    The probabilities are those at the temperature that is drawn at. The likeliest token is always left.
    """
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; expected a number above 0 and at most 1.")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}; expected 0 for all tokens, or how many to choose from.")

    def hook(logits: Tensor, _ids: Tensor) -> Tensor:
        sorted_logits, order = logits.sort(dim=-1, descending=True, stable=True)
        if top_k:
            sorted_logits[:, top_k:] = float("-inf")
        p = (sorted_logits / temperature).softmax(dim=-1)
        before = p.cumsum(dim=-1) - p  # what the likelier ones hold
        sorted_logits = sorted_logits.masked_fill(before >= top_p, float("-inf"))
        return torch.empty_like(logits).scatter_(-1, order, sorted_logits)

    return hook


def texts_to_show(
    policy: Policy,
    prompts: Sequence[Prompt],
    n: int,
    max_new: int,
    temperature: float,
    generator: torch.Generator,
    *,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: Sequence[str] = (),
) -> list[str]:
    """n texts to each prompt; row b * n + i is the i-th to prompt b."""
    hook = nucleus(top_p, top_k, temperature) if top_p != 1 or top_k else None
    drawn = sample_answers(policy, prompts, n, max_new, temperature, generator, stop=stop, hook=hook)
    return drawn.texts
