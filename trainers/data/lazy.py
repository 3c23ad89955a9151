"""Rows that are made when somebody asks for them: a snapshot, or all of its ids, need not fit in memory.

    rows = each(everything, lambda one: pairs.encode(policy, one))    # instead of a list comprehension

Lazy rows are used as a list is: by number, by slice, `first + second`. The newest few thousand are kept, so that a
small data set is read and encoded once, and a large one again in every epoch.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

KEPT = 8192
"""Rows that stay in memory, the least recently asked for going first: some megabytes of text, or of ids."""

T = TypeVar("T")
Source = TypeVar("Source")


class Lazy(Sequence[T], Generic[T]):
    """`size` rows, of which number i is `make(i)`."""

    def __init__(self, size: int, make: Callable[[int], T], keep: int = 0) -> None:
        self._size = size
        self._make = lru_cache(keep)(make) if keep else make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, asked: int) -> T: ...
    @overload
    def __getitem__(self, asked: slice) -> Lazy[T]: ...
    def __getitem__(self, asked: int | slice) -> T | Lazy[T]:
        rows = range(self._size)
        return self.at(rows[asked]) if isinstance(asked, slice) else self._make(rows[asked])

    def __iter__(self) -> Iterator[T]:
        return map(self._make, range(self._size))

    def __add__(self, after: Sequence[T]) -> Lazy[T]:
        size = self._size
        return Lazy(size + len(after), lambda row: self._make(row) if row < size else after[row - size])

    def at(self, rows: Sequence[int] | NDArray[np.int64]) -> Lazy[T]:
        """The rows of these numbers, in this order."""
        return Lazy(len(rows), lambda row: self._make(int(rows[row])))


def each(rows: Sequence[Source], make: Callable[[Source], T], keep: int = KEPT) -> Lazy[T]:
    """What `make` makes of every row."""
    return Lazy(len(rows), lambda row: make(rows[row]), keep)


def flattened(rows: Sequence[Source], make: Callable[[Source], Sequence[T]], keep: int = KEPT) -> Lazy[T]:
    """All that `make` makes of every row, one after another. Each is made once now, to be counted."""
    owners, places = array("q"), array("i")
    for number, row in enumerate(rows):
        for place in range(len(make(row))):
            owners.append(number)
            places.append(place)
    return Lazy(len(owners), lambda row: make(rows[owners[row]])[places[row]], keep)
