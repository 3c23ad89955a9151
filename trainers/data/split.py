"""Which records are kept from training: decided by the prompt alone.

No prompt is in both parts, whoever labelled it and however often; and a prompt keeps its side as a study
grows, so what one round held out no later round trains on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainers.data.snapshot import Records, mark, marks_of
from trainers.records import Prompt, Record


def split(found: Sequence[Record], share: float) -> tuple[Records, Records]:
    """(train, held out), with about `share` of the prompts held out."""
    marks = marks_of(found)
    everything = found if isinstance(found, Records) else Records(found.__getitem__, marks)
    out = marks / 2.0**64 < share
    if out.all():
        raise ValueError(
            f"All {len(out)} records fall to the held-out part: they have too few prompts. "
            "Label more prompts, or set held_out to 0."
        )
    train, held_out = (everything.at(np.flatnonzero(side)) for side in (~out, out))
    return train, held_out


def position(prompt: Prompt) -> float:
    """The prompt's place in [0, 1): a hash, so that it is the same on every machine and in every round."""
    return mark(prompt) / 2**64
