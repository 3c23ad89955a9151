"""What a run needs to go on as if nothing had happened, on disk: safetensors and JSON, nothing pickled.

A checkpoint is a folder that appears whole or not at all: it is written beside its place, brought to the
disk, and then renamed. The last two are kept.

Of several processes the first writes what all have, and each its own part of a model that is divided among them
(`model.shard-1.safetensors`). A part is some rows of each tensor, so any number of processes can read what any
other number wrote.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainers import processes

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
    """Writes the state of every part, and `own` (JSON), as folder/step-NNNNNNNN; drops all but the last two.

    Every process of the run calls it; it returns when the checkpoint is there.
    """
    place, partial, old = folder / f"step-{step:08d}", folder / ".partial", folder / ".old"
    first = processes.place().rank == 0
    if first:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
    processes.wait_for_all()
    # On a machine that does not see the first one's folder, this is another: which is found out below.
    partial.mkdir(parents=True, exist_ok=True)
    shapes = {}
    written = []
    with _divided():
        for name, part in state.items():
            tensors: dict[str, torch.Tensor] = {}
            shards: dict[str, torch.Tensor] = {}
            shapes[name] = _pack(_state_of(part), "", tensors, shards)
            if tensors and first:
                written.append(_write(tensors, partial / f"{name}.safetensors"))
            if shards:
                written.append(_write(shards, partial / f"{name}.shard-{processes.place().rank}.safetensors"))
    files = [name for names in processes.gather(written) for name in names]
    if first:
        if missing := [name for name in files if not (partial / name).exists()]:
            raise FileNotFoundError(
                f"{partial} lacks {', '.join(missing)}, which other processes wrote: the machines of this run do "
                "not see the same folder. Give the run a home that all of them mount."
            )
        (partial / "state.json").write_text(json.dumps({"own": own, "parts": shapes}), encoding="utf-8")
        for path in [*partial.iterdir(), partial]:
            _sync(path)
        # Saved again at the same step: by a command, or by an attempt that resumed before it.
        if place.exists():
            place.rename(old)
        partial.rename(place)
        _sync(folder)
        shutil.rmtree(old, ignore_errors=True)
        for path in sorted(folder.glob("step-*"))[:-KEEP]:
            shutil.rmtree(path)
    processes.wait_for_all()
    return place


def told(path: Path) -> dict[str, Any]:
    """The `own` that a checkpoint was saved with; nothing is restored."""
    own: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))["own"]
    return own


def load(path: Path, state: Mapping[str, Stateful]) -> dict[str, Any]:
    """Restores every part in place, and returns the `own` it was saved with."""
    kept: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if set(kept["parts"]) != set(state):
        raise ValueError(
            f"{path} holds the state of {', '.join(sorted(kept['parts']))}; this run has {', '.join(sorted(state))}. "
            "It was saved by another version of the method: start the run anew."
        )
    with _divided():
        for name, part in state.items():
            with _reader(path, name, part) as read:
                value = _unpack(kept["parts"][name], read)
            if isinstance(part, torch.Generator):
                part.set_state(value["generator"])
            else:
                part.load_state_dict(value)
    processes.wait_for_all()  # or one may already save, and drop what another still reads
    own: dict[str, Any] = kept["own"]
    return own


@contextmanager
def _divided() -> Iterator[None]:
    """While each process holds its own part of a divided model, and no more."""
    if processes.place().sharding != "fsdp":
        yield
        return
    from trainers import sharding  # here, since it takes a while to import

    with sharding.all_apart():
        yield


def _write(tensors: dict[str, torch.Tensor], path: Path) -> str:
    save_file(tensors, path)
    _sync(path)
    return path.name


@contextmanager
def _reader(folder: Path, name: str, part: Stateful) -> Iterator[Callable[[str], torch.Tensor]]:
    """Reads a part's tensors by name: whole, or the rows that this process holds of it."""
    paths = [path for path in [folder / f"{name}.safetensors"] if path.exists()]
    shards = sorted(
        folder.glob(f"{name}.shard-*.safetensors"), key=lambda path: int(path.name.split("-")[-1][:-12])
    )
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, framework="pt")) for path in [*paths, *shards]]
        held: dict[str, list[Any]] = {}
        for file in files:
            for key in file.keys():  # noqa: SIM118, a safetensors file is no dict
                held.setdefault(key, []).append(file)
        divided = _divided_tensors(part)

        def read(key: str) -> torch.Tensor:
            found = held[key]
            if key not in divided:
                pieces = [file.get_tensor(key) for file in found]
                return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
            from trainers import sharding

            like = divided[key]
            start, stop = sharding.rows(like) or (0, len(like))
            return sharding.like(_rows([file.get_slice(key) for file in found], start, stop), like)

        yield read


def _rows(slices: list[Any], start: int, stop: int) -> torch.Tensor:
    """Rows start … stop of a tensor that lies in several files, one stretch of rows after the other."""
    pieces: list[torch.Tensor] = []
    at = 0
    for one in slices:
        count = one.get_shape()[0]
        low, high = max(start, at), min(stop, at + count)
        if low < high or not pieces:  # one piece at least, so that the shape of a row is known
            pieces.append(one[max(0, low - at) : max(0, high - at)])
        at += count
    return torch.cat(pieces)


def _divided_tensors(part: Stateful) -> dict[str, torch.Tensor]:
    """The tensors of a part's state that are divided among the processes, by their name in the checkpoint."""
    if processes.place().sharding != "fsdp" or isinstance(part, torch.Generator):
        return {}
    if isinstance(part, torch.optim.Optimizer):
        weights = [weight for group in part.param_groups for weight in group["params"]]
        found = {}
        for index, weight in enumerate(weights):
            for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"):
                found[f"state.{index}.{name}"] = weight
    else:
        found = part.state_dict()
    return {name: one for name, one in found.items() if hasattr(one, "to_local")}


def _state_of(part: Stateful) -> dict[str, Any]:
    return {"generator": part.get_state()} if isinstance(part, torch.Generator) else part.state_dict()


# A state as JSON: tensors by name, and containers tagged, since JSON knows no tuple and no number as a key.


def _pack(value: Any, path: str, tensors: dict[str, torch.Tensor], shards: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        # A clone each: tied weights share memory, which safetensors refuses.
        if hasattr(value, "to_local"):
            shards[path] = value.to_local().detach().cpu().clone().contiguous()
        elif processes.place().rank == 0:
            tensors[path] = value.detach().cpu().clone().contiguous()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(one, _below(path, key), tensors, shards)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(one, _below(path, index), tensors, shards) for index, one in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"The state '{path}' is a {type(value).__name__}. A checkpoint keeps tensors, numbers and text."
    )


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _unpack(value: Any, read: Callable[[str], torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return read(inner)
    if kind == "dict":
        return {key: _unpack(one, read) for key, one in inner}
    items = [_unpack(one, read) for one in inner]
    return items if kind == "list" else tuple(items)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
