"""Beam search: the likeliest answers that a search of some width finds.

A hypothesis is worth the sum of its tokens' log-probabilities at temperature 1, nothing divided by its length: with a
beam as wide as there are answers the first is the exact mode. Answers that have ended stay in the beam and compete.
Search of a policy fitted by DPO is search guided by its own advantages (Rafailov et al. 2024, arXiv:2404.12358).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.nn import Policy
from trainers.records import Prompt

IMPOSSIBLE = -1e8
"""Below every log-probability of an answer that can be: a policy gives what cannot follow -1e9."""


@dataclass(frozen=True)
class Found:
    """One answer of a search."""

    text: str
    y: Tensor
    """[T] its ids, the token that ended it included."""
    logp: float
    """log pi(y|x) at temperature 1."""
    finished: bool
    """It ended by itself."""


@torch.inference_mode()
def beam_search(policy: Policy, prompts: Sequence[Prompt], width: int, max_new: int) -> list[list[Found]]:
    """For each prompt its `width` best answers, the likeliest first; fewer where fewer are possible.

    A width of 1 is greedy decoding.
    """
    if width < 1:
        raise ValueError(f"The beam is {width} wide; expected 1 or more.")
    decoding = policy.decoding([policy.encode(one) for one in prompts], width, max_new)
    count, device = len(prompts), policy.device
    first = torch.arange(count, device=device)[:, None] * width  # each prompt's first row
    y = torch.full((count * width, max_new), policy.pad, device=device)
    ended = torch.zeros(count * width, dtype=torch.bool, device=device)
    # All rows of a prompt begin alike: but for the first they are out, or they would be found again and again.
    logp = torch.full((count, width), float("-inf"), device=device, dtype=decoding.logits.dtype)
    logp[:, 0] = 0
    for t in range(max_new):
        ahead = decoding.logits.log_softmax(dim=-1)
        symbols = ahead.shape[1]
        # What has ended goes on in one way, at no cost: by the token 0, which is not written down.
        ahead = ahead.masked_fill(ended[:, None], float("-inf"))
        ahead[:, 0] = ahead[:, 0].masked_fill(ended, 0.0)
        logp, best = (logp[:, :, None] + ahead.view(count, width, symbols)).flatten(1).topk(width)
        rows = (first + best // symbols).flatten()
        token = (best % symbols).flatten()
        y, ended = y[rows], ended[rows]
        y[:, t] = token.masked_fill(ended, policy.pad)
        ended = ended | decoding.ends(token)
        if (ended | (logp.flatten() < IMPOSSIBLE)).all() or t + 1 == max_new:
            break
        decoding.keep(rows)
        decoding.advance(token)
    return [
        [
            Found(policy.decode(y[row]), y[row][policy.mask(y[row])], value, bool(ended[row]))
            for row, value in enumerate(values, start=number * width)
            if value > IMPOSSIBLE
        ]
        for number, values in enumerate(logp.tolist())
    ]
