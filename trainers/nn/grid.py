"""Rows of unequal length without the padding, and equal prompts without the repetition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The cells of a block [B, T] that hold real tokens.

    Answers differ in length, and a batch of them is half padding: only attention, which needs rows, is given the
    block; everything else is given its N real cells, row by row.
    """

    shape: tuple[int, int]
    cells: Tensor | None
    """[N] numbers of the real cells, counted along the rows; None where all are."""

    @classmethod
    def of(cls, real: Tensor) -> Self:
        rows, length = real.shape
        return cls((rows, length), None if real.all() else real.flatten().nonzero()[:, 0])

    def pick(self, block: Tensor) -> Tensor:
        """[N, ...] of [B, T, ...]."""
        flat = block.flatten(0, 1)
        return flat if self.cells is None else flat.index_select(0, self.cells)

    def spread(self, real: Tensor) -> Tensor:
        """[B, T, ...] of [N, ...]; 0 on padding."""
        if self.cells is not None:
            rows, length = self.shape
            real = real.new_zeros(rows * length, *real.shape[1:]).index_copy(0, self.cells, real)
        return real.view(*self.shape, *real.shape[1:])


def unique(x: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """(rows, unique): x[b] equals unique[rows[b]]."""
    seen: dict[tuple[int, ...], int] = {}
    rows = [seen.setdefault(tuple(ids.tolist()), len(seen)) for ids in x]
    return torch.tensor(rows), [torch.tensor(ids) for ids in seen]
