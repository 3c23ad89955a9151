"""Which records are kept from training: decided by the prompt alone.

No prompt is in both parts, whoever labelled it and however often; and a prompt keeps its side as a study
grows, so what one round held out no later round trains on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from trainers.records import Prompt, Record, canonical, prompt_json


def split(found: Iterable[Record], share: float) -> tuple[list[Record], list[Record]]:
    """(train, held out), with about `share` of the prompts held out."""
    train: list[Record] = []
    held_out: list[Record] = []
    for record in found:
        (held_out if position(record.prompt) < share else train).append(record)
    if not train:
        raise ValueError(
            f"All {len(held_out)} records fall to the held-out part: they have too few prompts. "
            "Label more prompts, or set held_out to 0."
        )
    return train, held_out


def position(prompt: Prompt) -> float:
    """The prompt's place in [0, 1): a hash, so that it is the same on every machine and in every round."""
    digest = hashlib.sha256(canonical(prompt_json(prompt)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
