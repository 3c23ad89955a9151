"""The processes that train one run together: which of them this one is, and what they tell each other.

Every process runs the whole method and makes the same decisions; they differ only in the rows whose gradients they
take. A run in a single process is a group of one, for which everything here does nothing.
"""

from __future__ import annotations

import atexit
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

Sharding = Literal["none", "ddp", "fsdp"]

LOST = 75
"""The exit code of a process that could not go on because another one of its group was gone."""
SILENCE = timedelta(minutes=30)
"""A process that is not heard of for so long is gone."""
BUCKET = 25 * 2**20
"""Bytes of gradients that are summed at once."""

_BROKEN = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|heartbeat|timed out",
    re.IGNORECASE,
)


class Lost(RuntimeError):
    """Another process of the run is gone. Nothing is wrong with this one, but it cannot go on alone."""


@dataclass(frozen=True)
class Place:
    """Where this process stands among those of its run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """The rank on this machine."""
    sharding: Sharding = "none"


_place = Place()


def place() -> Place:
    return _place


def join(sharding: Sharding, processes: int, device: str) -> Place:
    """Finds the other processes of the run, where the environment says that there are some (torchrun does).

    Without them it is a run of one process.
    """
    global _place
    inside = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not inside and not dist.is_initialized():
        if processes > 1:
            raise ValueError(
                f"This run wants {processes} processes, and this is one alone. "
                "Start it with `python -m trainers run SPEC`, which starts them all, or with torchrun."
            )
        _place = Place()
        return _place
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, timeout=SILENCE)
        atexit.register(_leave)
    if dist.get_world_size() > 1 and sharding == "none":
        raise ValueError(
            f"This process is one of {dist.get_world_size()}, but the run's sharding is 'none'. Choose 'ddp' "
            "(each holds the whole model) or 'fsdp' (weights, gradients and optimiser are divided)."
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    _place = Place(dist.get_rank(), dist.get_world_size(), local, sharding)
    return _place


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Lost(f"Another process of this run is gone: {error}") from error


def lost(error: BaseException | None) -> bool:
    """Whether an error means that another process is gone, and not that something is wrong here."""
    while error is not None:
        if isinstance(error, Lost):
            return True
        if type(error) in (RuntimeError, dist.DistBackendError, dist.DistNetworkError, dist.DistStoreError):
            return _place.size > 1 and bool(_BROKEN.search(str(error)))
        error = error.__cause__
    return False


def gather(value: Any) -> list[Any]:
    """What each process says, JSON values in the order of their ranks. All must ask, at the same moment."""
    if _place.size == 1:
        return [value]
    said = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    with _talking():
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(_place.size)]
        dist.all_gather(sizes, torch.tensor([len(said)]))
        longest = int(max(sizes))
        rows = [torch.zeros(longest, dtype=torch.uint8) for _ in range(_place.size)]
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(said)] = said
        dist.all_gather(rows, padded)
    return [json.loads(row[: int(size)].numpy().tobytes()) for row, size in zip(rows, sizes, strict=True)]


def agree(value: Any) -> Any:
    """What rank 0 says, a JSON value. All must ask, at the same moment."""
    return gather(value if _place.rank == 0 else None)[0]


def agree_tensor(value: Tensor | None) -> Tensor:
    """Rank 0's tensor, on the CPU."""
    if _place.size == 1:
        if value is None:
            raise ValueError("Rank 0 must have the value that the others wait for.")
        return value
    like = [str(value.dtype).removeprefix("torch."), list(value.shape)] if value is not None else None
    name, shape = agree(like)
    first = _place.rank == 0 and value is not None
    found = (
        value.cpu().contiguous()
        if first and value is not None
        else torch.empty(shape, dtype=getattr(torch, name))
    )
    if found.numel():
        with _talking():
            dist.broadcast(found, src=0)
    return found


def wait_for_all() -> None:
    """Returns when every process has come here."""
    gather(0)


def add_up(gradients: Sequence[Tensor]) -> None:
    """Replaces each tensor by its sum over the processes, many in one message."""
    waiting: list[Tensor] = []
    for gradient in gradients:
        if waiting and (
            gradient.dtype != waiting[0].dtype
            or gradient.device != waiting[0].device
            or sum(map(_bytes, waiting)) + _bytes(gradient) > BUCKET
        ):
            _add_up(waiting)
            waiting = []
        waiting.append(gradient)
    if waiting:
        _add_up(waiting)


def _add_up(gradients: Sequence[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with _talking():
        dist.all_reduce(flat)
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
