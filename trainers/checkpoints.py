"""What a run needs to go on as if nothing had happened, on disk: safetensors and JSON, nothing pickled.

A checkpoint is a folder that appears whole or not at all: it is written beside its place, brought to the
disk, and then renamed. The last two are kept.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file

KEEP = 2


class HasState(Protocol):
    """A model, an optimiser, a batch order: anything with torch's two methods."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


Stateful = HasState | torch.Generator


class GlobalRandom:
    """The generators that belong to no one: Python's, numpy's and torch's (and CUDA's, where there is one)."""

    def state_dict(self) -> dict[str, Any]:
        kind, keys, *rest = np.random.get_state(legacy=True)
        state: dict[str, Any] = {
            "python": random.getstate(),
            "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        random.setstate(state["python"])
        kind, keys, *rest = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if torch.cuda.is_available() and "cuda" in state:
            torch.cuda.set_rng_state_all(state["cuda"])


def newest(folder: Path) -> Path | None:
    """The latest whole checkpoint in `folder`."""
    return max(folder.glob("step-*"), default=None)


def save(folder: Path, step: int, state: Mapping[str, Stateful], own: Mapping[str, Any]) -> Path:
    """Writes the state of every part, and `own` (JSON), as folder/step-NNNNNNNN; drops all but the last two."""
    place, partial, old = folder / f"step-{step:08d}", folder / ".partial", folder / ".old"
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    shapes = {}
    for name, part in state.items():
        tensors: dict[str, torch.Tensor] = {}
        shapes[name] = _pack(_state_of(part), "", tensors)
        if tensors:
            save_file(tensors, partial / f"{name}.safetensors")
    (partial / "state.json").write_text(json.dumps({"own": own, "parts": shapes}), encoding="utf-8")
    for path in [*partial.iterdir(), partial]:
        _sync(path)
    if place.exists():  # saved again at the same step: by a command, or by an attempt that resumed before it
        place.rename(old)
    partial.rename(place)
    _sync(folder)
    shutil.rmtree(old, ignore_errors=True)
    for path in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(path)
    return place


def load(path: Path, state: Mapping[str, Stateful]) -> dict[str, Any]:
    """Restores every part in place, and returns the `own` it was saved with."""
    kept: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if set(kept["parts"]) != set(state):
        raise ValueError(
            f"{path} holds the state of {', '.join(sorted(kept['parts']))}; this run has {', '.join(sorted(state))}. "
            "It was saved by another version of the method: start the run anew."
        )
    for name, part in state.items():
        file = path / f"{name}.safetensors"
        value = _unpack(kept["parts"][name], load_file(file) if file.exists() else {})
        if isinstance(part, torch.Generator):
            part.set_state(value["generator"])
        else:
            part.load_state_dict(value)
    own: dict[str, Any] = kept["own"]
    return own


def _state_of(part: Stateful) -> dict[str, Any]:
    return {"generator": part.get_state()} if isinstance(part, torch.Generator) else part.state_dict()


# A state as JSON: tensors by name, and containers tagged, since JSON knows no tuple and no number as a key.


def _pack(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        # A clone each: tied weights share memory, which safetensors refuses.
        tensors[path] = value.detach().cpu().clone().contiguous()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(one, _below(path, key), tensors)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(one, _below(path, index), tensors) for index, one in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"The state '{path}' is a {type(value).__name__}. A checkpoint keeps tensors, numbers and text."
    )


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "dict":
        return {key: _unpack(one, tensors) for key, one in inner}
    items = [_unpack(one, tensors) for one in inner]
    return items if kind == "list" else tuple(items)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
