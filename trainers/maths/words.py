"""Words as vectors that nobody needs to learn."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def heard(words: str, size: int) -> NDArray[np.float32]:
    """[size] a task's words as a vector of length sqrt(size), drawn once for all by their hash. No words, no vector.

    Other words are another task, at about a right angle: what tasks have in common is for something else to tell.
    """
    said = " ".join(words.lower().split())
    if not said:
        return np.zeros(size, np.float32)
    found = np.random.default_rng(list(hashlib.sha256(said.encode()).digest())).standard_normal(size)
    scaled: NDArray[np.float32] = (found * np.sqrt(size) / np.linalg.norm(found)).astype(np.float32)
    return scaled
