"""Answers being written over a Hugging Face model's own key-value cache, whatever the model keeps in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from trainers.nn.grid import unique

if TYPE_CHECKING:
    from trainers.nn.hugging_face import HuggingFacePolicy

LEAST_REAL = 0.75
"""Prompts are read together when at least this share of their block is no padding."""

Read = tuple[Tensor, Tensor, Any]
"""(seen [R, P] bool, logits [R, V] of the next token, the model's cache) of R rows."""


class CacheDecoding:
    """See `Decoding`. Equal prompts are read once, and prompts of unlike length apart, to read little padding."""

    @torch.inference_mode()
    def __init__(self, policy: HuggingFacePolicy, x: Sequence[Tensor], n: int) -> None:
        self.policy = policy
        self.stops = torch.tensor(sorted(policy.text.stops), device=policy.device)
        rows, different = unique(x)
        self.seen, self.logits, self.cache = self._read_apart(different)
        if n > 1 or len(different) < len(x):
            self.keep(rows.repeat_interleave(n).to(policy.device))

    def ends(self, tokens: Tensor) -> Tensor:
        return torch.isin(tokens, self.stops)

    @torch.inference_mode()
    def advance(self, tokens: Tensor) -> None:
        self.seen = torch.cat((self.seen, torch.ones_like(tokens[:, None], dtype=torch.bool)), dim=1)
        self.logits, self.cache = self._step(tokens[:, None], self.seen, self.cache)

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        self.cache.reorder_cache(rows)
        self.seen, self.logits = self.seen[rows], self.logits[rows]

    def _step(self, ids: Tensor, seen: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = self.policy._forward(ids, seen, cache, 1, use_cache=True)
        return logits[:, -1].float(), cache

    def _read(self, prompts: Sequence[Tensor]) -> Read:
        ids = self.policy._pad_left(prompts)
        seen = self.policy.mask(ids)
        return seen, *self._step(ids, seen, None)

    def _read_apart(self, prompts: Sequence[Tensor]) -> Read:
        groups = alike([len(ids) for ids in prompts])
        first = self._read([prompts[i] for i in groups[0]])
        if any(type(layer) is not DynamicLayer for layer in first[2].layers):
            # What else a model keeps, a window or a state, cannot be padded afterwards.
            return first if len(groups) == 1 else self._read(prompts)
        parts = [first, *(self._read([prompts[i] for i in group]) for group in groups[1:])]
        order = torch.tensor([i for group in groups for i in group], device=self.policy.device).argsort()
        return _joined(parts, order)


def alike(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of the prompts, shortest first, in groups that hold little padding."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        group = [*groups[-1], i] if groups else [i]
        if groups and sum(lengths[j] for j in group) >= LEAST_REAL * lengths[i] * len(group):
            groups[-1] = group
        else:
            groups.append([i])
    return groups


def _joined(parts: Sequence[Read], order: Tensor) -> Read:
    """The parts, of which the last is the widest, as one, its rows in this order."""
    seen, logits, cache = parts[-1]
    if len(parts) > 1:
        seen = torch.cat([_widen(part[0], seen.shape[1], 1) for part in parts])
        logits = torch.cat([part[1] for part in parts])
        for i, layer in enumerate(cache.layers):
            width = layer.keys.shape[-2]
            layers = [part[2].layers[i] for part in parts]
            layer.keys = torch.cat([_widen(one.keys, width, -2) for one in layers])
            layer.values = torch.cat([_widen(one.values, width, -2) for one in layers])
    if order.tolist() != list(range(len(order))):
        cache.reorder_cache(order)
        seen, logits = seen[order], logits[order]
    return seen, logits, cache


def _widen(block: Tensor, width: int, dim: int) -> Tensor:
    """`block` with zeros before it, so that `dim` is `width` long."""
    shape = list(block.shape)
    shape[dim] = width - shape[dim]
    return torch.cat((block.new_zeros(shape), block), dim=dim)
