"""Episodes from elsewhere, taken into a store."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.episodes import Episode, Episodes
from trainers.episodes.sense import sensible


def take_in(coming: Sequence[Episode], store: Episodes) -> list[str]:
    """Copies ended episodes into a store; their names. Each is checked before the first is taken.

    Raises ValueError for one that cannot be, has not ended, was changed since, or has the name of another one there.
    """
    for one in coming:
        try:
            sensible(one)
        except ValueError as problem:
            raise ValueError(f"The episode {one.name} cannot be taken in: {problem}.") from None
    return [store.adopt(one.place).name for one in coming]
