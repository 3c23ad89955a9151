"""A moment of a world as bytes, and back, to the last bit: JSON, with arrays as their own bytes, and no pickle."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

ARRAY = "array"


def packed(moment: Mapping[str, Any]) -> bytes:
    """A moment of numbers, texts, arrays, lists and mappings of these.

    Raises TypeError for anything else: what cannot be kept exactly is not kept.
    """
    return json.dumps(moment, default=_array).encode()


def unpacked(moment: bytes, world: str) -> dict[str, Any]:
    """What `packed` was given. ValueError where it is no moment, or one of another world than `world`."""
    try:
        found = json.loads(moment, object_hook=_read)
    except ValueError as error:
        raise ValueError(f"Found {moment[:40]!r}. Expected a moment that `snapshot` gave.") from error
    if not isinstance(found, dict) or found.get("world") != world:
        whose = found.get("world") if isinstance(found, dict) else None
        raise ValueError(f"Found a moment of {whose or 'no world'}. Expected one of {world}.")
    return found


def _array(value: Any) -> Any:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"Found {value!r} of type {type(value).__name__}. Expected a number, a text or an array."
        )
    whole = np.asarray(value)
    if whole.dtype.kind not in "biuf":
        raise TypeError(f"Found an array of {whole.dtype}. Expected one of numbers.")
    kept = b64encode(np.ascontiguousarray(whole).tobytes()).decode()
    return {
        ARRAY: kept,
        "dtype": whole.dtype.str,
        "shape": whole.shape,
        "single": isinstance(value, np.generic),
    }


def _read(value: dict[str, Any]) -> Any:
    if ARRAY not in value:
        return value
    whole = np.frombuffer(b64decode(value[ARRAY]), dtype=value["dtype"]).reshape(value["shape"]).copy()
    return whole[()] if value["single"] else whole
