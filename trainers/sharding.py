"""A model divided among the processes of a run: FSDP (Zhao et al. 2023, arXiv:2304.11277), torch's `fully_shard`.

While a step is taken, each process holds its part of the weights, of their gradients and of the optimiser's state,
and a unit's weights are whole only while they are used. Between two steps the weights are whole everywhere, since
methods then sample, measure and save as if there were one process; gradients and the optimiser stay divided.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.placement_types import Placement

from trainers.processes import place

NEVER = {
    "write", "read", "encode", "encode_pair", "cut", "decode", "mask", "state_dict", "load_state_dict", "merged",
    "normalise",
}  # fmt: skip
"""Methods of a model that use no weights, or must not be taken for its forward."""


class _Divided:
    """A model that is divided, the ids of its parameters, and how it stands."""

    def __init__(self, model: nn.Module) -> None:
        self.model = weakref.ref(model)
        self.ids = frozenset(map(id, model.parameters()))
        self.whole = False
        self.inside = False
        """One of its methods is at work, and has fetched the weights."""


_divided: list[_Divided] = []
_meshes: dict[str, DeviceMesh] = {}


def divide(module: nn.Module) -> None:
    """Divides a model among all processes, in place. Its parameters are DTensors from now on; call `whole` after
    an optimiser was made of them."""
    models = [*module.children()] if isinstance(module, nn.ModuleList | nn.ModuleDict) else [module]
    for model in models:
        if isinstance(model, FSDPModule) or not any(True for _ in model.parameters()):
            continue
        mesh = _mesh(next(model.parameters()).device.type)
        before = {one: set(one._state_dict_pre_hooks) for one in model.modules()}
        loading = {one: set(one._load_state_dict_pre_hooks) for one in model.modules()}
        for unit in [*_units(model), model]:
            fully_shard(unit, mesh=mesh, reshard_after_forward=unit is not model)
        for one in model.modules():
            if isinstance(one, FSDPModule):
                # The parts of a batch's loss are divided by what the whole batch is normalised by: their
                # gradients are to be summed, not averaged.
                one.set_gradient_divide_factor(1.0)
                one.set_force_sum_reduction_for_comms(True)
        one_divided = _Divided(model)
        for name in _forwards(model):
            _fetch_in(model, name, one_divided)
        _prepare(model)
        # torch would divide the weights again whenever their state is asked for; here the caller says when.
        for one in model.modules():
            for key in set(one._state_dict_pre_hooks) - before.get(one, set()):
                del one._state_dict_pre_hooks[key]
            for key in set(one._load_state_dict_pre_hooks) - loading.get(one, set()):
                del one._load_state_dict_pre_hooks[key]
        _divided.append(one_divided)


def _mesh(device: str) -> DeviceMesh:
    if device not in _meshes:
        _meshes[device] = init_device_mesh(device, (place().size,))
    return _meshes[device]


def _units(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of a Hugging Face model, where each is only ever called: its weights may come and go by themselves.

    A model that a loop of ours goes through (`llama`) is one unit.
    """
    if getattr(model, "llama", None) is not None:
        return
    names = set(getattr(getattr(model, "model", None), "_no_split_modules", None) or ())
    for module in model.modules():
        if type(module).__name__ in names:
            yield module


def _forwards(model: nn.Module) -> list[str]:
    """The public methods of our own models: through any of them, weights may be used."""
    found = []
    for kind in type(model).__mro__:
        if kind.__module__.startswith("trainers."):
            found += [
                name
                for name, value in vars(kind).items()
                if inspect.isfunction(value) and name[0] != "_" and name != "forward" and name not in NEVER
            ]
    return sorted(set(found))


def _fetch_in(model: nn.Module, name: str, divided: _Divided) -> None:
    """Lets a method fetch the weights it uses, as torch lets `forward`; not where they are there already, since
    torch would let go of them at its end."""
    plain = getattr(model, name)
    register_fsdp_forward_method(model, name)
    fetching = getattr(model, name)

    @functools.wraps(plain)
    def called(*args: Any, **kwargs: Any) -> Any:
        if divided.whole or divided.inside:
            return plain(*args, **kwargs)
        divided.inside = True
        try:
            return fetching(*args, **kwargs)
        finally:
            divided.inside = False

    setattr(model, name, called)


def _prepare(model: nn.Module) -> None:
    """Lets torch make its buffers and hooks now; it would on the first forward."""
    for one in model.modules():
        if isinstance(one, FSDPModule):
            one.unshard()
            one.reshard()


def shards_of(weights: Iterable[Tensor]) -> list[nn.Module]:
    """The divided models that own any of these weights."""
    wanted = set(map(id, weights))
    return [model for one in _divided if one.ids & wanted and (model := one.model()) is not None]


def whole(models: Iterable[nn.Module]) -> None:
    """Brings all weights to every process, from the parts as they are now."""
    _set(models, True)


def apart(models: Iterable[nn.Module]) -> None:
    """Lets go of the weights of others."""
    _set(models, False)


def _set(models: Iterable[nn.Module], whole: bool) -> None:
    for model in models:
        for unit in model.modules():
            if isinstance(unit, FSDPModule):
                unit.reshard()
                if whole:
                    unit.unshard()
                    # A layer keeps its weights after it was called, too.
                unit.set_reshard_after_forward(not whole and unit is not model, recurse=False)
        for one in _divided:
            if one.model() is model:
                one.whole = whole


@contextmanager
def all_apart() -> Iterator[None]:
    """While a state is saved or restored: every divided model holds its own part only."""
    models = [model for one in _divided if (model := one.model()) is not None]
    apart(models)
    try:
        yield
    finally:
        whole(models)


def rows(tensor: Tensor) -> tuple[int, int] | None:
    """The first row of this process's part, and the one behind its last; None for a tensor that is not divided."""
    if not isinstance(tensor, DTensor):
        return None
    if tuple(tensor.placements) != (Shard(0),):
        raise ValueError(f"A tensor is divided as {tensor.placements}; expected by rows, {(Shard(0),)}.")
    each = -(-tensor.shape[0] // place().size)
    start = min(place().rank * each, tensor.shape[0])
    return start, min(start + each, tensor.shape[0])


def like(part: Tensor, divided: Tensor) -> Tensor:
    """`part` as this process's share of a tensor that is divided as `divided` is."""
    if not isinstance(divided, DTensor):
        return part
    placements: list[Placement] = list(divided.placements)
    found: Any = DTensor.from_local(
        part.to(divided.device),
        divided.device_mesh,
        placements,
        run_check=False,
        shape=divided.shape,
        stride=divided.stride(),
    )
    tensor: torch.Tensor = found
    return tensor
