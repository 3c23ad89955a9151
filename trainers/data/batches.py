"""Which rows make up the next batch: shuffled by a seed, of similar length, and resumable in mid-epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

POOL = 16
"""Batches are cut from pools of so many batches' rows sorted by length: little padding, much shuffling."""


class Batches:
    """An endless series of batches of row numbers; every epoch has each row exactly once."""

    def __init__(self, lengths: Sequence[int], size: int, seed: int) -> None:
        if not lengths:
            raise ValueError(
                "Nothing is left to learn from: the records not held out say neither which answer is better "
                "nor how to write one (both bad, equal texts, weight 0). Label more."
            )
        self.lengths, self.size, self.seed = np.asarray(lengths), size, seed
        self.taken = 0
        self._order: list[list[int]] = []
        self._order_of = -1

    def __len__(self) -> int:
        """Batches in an epoch; the last one may be short."""
        return -(-len(self.lengths) // self.size)

    def __next__(self) -> list[int]:
        epoch, index = divmod(self.taken, len(self))
        if epoch != self._order_of:
            self._order, self._order_of = self._shuffled(epoch), epoch
        self.taken += 1
        return self._order[index]

    def first_epoch(self) -> list[list[int]]:
        """The batches of the first epoch, wherever this series stands."""
        return self._shuffled(0)

    @property
    def epoch(self) -> float:
        """Times the rows were gone through so far."""
        return self.taken / len(self)

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        # An epoch's order follows from seed and epoch alone, so the position is all there is to keep.
        self.taken = state["taken"]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        chance = np.random.default_rng([self.seed, epoch])
        rows = chance.permutation(len(self.lengths))
        batches = []
        for start in range(0, len(rows), POOL * self.size):
            pool = rows[start : start + POOL * self.size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[at : at + self.size].tolist() for at in range(0, len(pool), self.size)]
        return [batches[index] for index in chance.permutation(len(batches))]
