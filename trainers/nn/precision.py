"""How precisely models read while they train: in single precision, or their products in bfloat16.

In bfloat16 a model's own matrix products take numbers with eight bits and sum them in single precision (torch's
autocast); on a GPU attention does, too. Weights, gradients and the optimiser's state stay as they are, and what a model
gives back (states, logits) is in single precision again, so that losses, log-probabilities and rewards are computed in
it.

Only what the wrapper `reading` is around is affected: what trains. Writing answers token by token is not, nor is what a
model does after the run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

Args = ParamSpec("Args")

_device: str | None = None
"""The type of device on which models read in bfloat16; None while they read in single precision."""


@contextmanager
def reading_in(precision: str, device: torch.device) -> Iterator[None]:
    """While a run lasts: its models read in this precision, "float32" or "bfloat16"."""
    global _device
    before, _device = _device, device.type if precision == "bfloat16" else None
    try:
        yield
    finally:
        _device = before


def reading(read: Callable[Args, Tensor]) -> Callable[Args, Tensor]:
    """`read`, with its products in the run's precision and its result in single precision or better.

    The way back lies outside: each product's gradient is taken in bfloat16 as the product was, and all else of it in
    single precision. No copy of a weight is kept for a second use, since the gradients of both uses would then be
    summed in bfloat16.
    """

    @functools.wraps(read)
    def found(*args: Args.args, **kwargs: Args.kwargs) -> Tensor:
        if _device is None:
            return read(*args, **kwargs)
        with torch.autocast(_device, torch.bfloat16, cache_enabled=False):
            told = read(*args, **kwargs)
        return single(told)

    return found


def single(t: Tensor) -> Tensor:
    """A tensor in bfloat16 in single precision; any other as it is."""
    return t.float() if t.dtype == torch.bfloat16 else t


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """softmax(scale q k' + mask) v; without a mask a token looks at itself and what is before it. [B, heads, T, size].

    On a CPU always in single precision: torch's kernel takes a third longer in bfloat16 there.
    """
    if q.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)
    with torch.autocast("cpu", enabled=False):
        q, k, v = single(q), single(k), single(v)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)
