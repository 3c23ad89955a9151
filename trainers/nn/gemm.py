"""A linear layer in single precision by the quicker of torch's two libraries.

On a CPU torch multiplies matrices with MKL, which uses half the width of the vector units of processors that are not
Intel's. oneDNN, which torch brings along for other types, uses all of it: 210 GFLOP/s against 95 on one core of an AMD
EPYC, for the shapes of a small transformer. Which one is used follows from the processor alone, never from a timing, so
a resumed run computes what the first did. Sums are in single precision either way.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@cache
def quicker() -> bool:
    """Whether oneDNN is there and quicker: a processor with AVX-512 that is not Intel's."""
    info = Path("/proc/cpuinfo")
    found = (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and info.is_file()
        and "AuthenticAMD" in info.read_text("utf-8")
    )
    if (
        found
    ):  # oneDNN keeps what it made for every shape it meets, 1,024 of them: a hundred MB of a short training
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    return found


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a [N, K] times the transpose of b [M, K], plus a bias [M]; either may be a transposed view."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(h, weight)
        return _product(h, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        h, weight = ctx.saved_tensors
        grad = grad.contiguous()
        return (
            _product(grad, weight.t()) if ctx.needs_input_grad[0] else None,
            # The transpose of what is wanted: in this order the product is a third quicker.
            _product(h.t(), grad.t()).t() if ctx.needs_input_grad[1] else None,
            grad.sum(dim=0) if ctx.needs_input_grad[2] else None,
        )


def linear(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[N, M] = h [N, K] times the transpose of weight [M, K], plus bias [M]."""
    plain = h.dtype == weight.dtype == torch.float32 and h.device.type == "cpu" and len(h) > 0
    if not (plain and quicker()) or torch.is_autocast_enabled("cpu"):
        return F.linear(h, weight, bias)
    if not torch.is_grad_enabled():
        return _product(h, weight, bias)
    found: Tensor = _Linear.apply(h, weight, bias)  # type: ignore[no-untyped-call]
    return found


def prepared(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    """`linear` with a weight that does not change and is laid out once for about so many rows. Without a gradient."""
    if not (weight.dtype == torch.float32 and weight.device.type == "cpu" and quicker()):
        return lambda h: F.linear(h, weight, bias)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return lambda h: _product(h, laid_out, bias)


def apply(module: Any, h: Tensor) -> Tensor:
    """What a module makes of h [N, K]: by `linear` for a plain linear layer, also below adapters; else its own way."""
    if type(module) is nn.Linear:
        return linear(h, module.weight, module.bias)
    if not has_plain_adapter(module):
        found: Tensor = module(h)
        return found
    (name,) = module.active_adapters
    inner = linear(h, module.lora_A[name].weight)
    outer = linear(inner, module.lora_B[name].weight)
    adapted: Tensor = apply(module.base_layer, h) + outer * module.scaling[name]
    return adapted


def has_plain_adapter(module: Any) -> bool:
    """A linear layer with one LoRA adapter of peft's, without dropout or variant: W h + scaling B A h."""
    if type(getattr(module, "base_layer", None)) is not nn.Linear or not hasattr(module, "lora_A"):
        return False
    names = list(module.active_adapters)
    return (
        len(names) == 1
        and names[0] in module.lora_A
        and not (module.merged or module.disable_adapters)
        and not getattr(module, "lora_variant", {})
        and isinstance(module.lora_dropout[names[0]], nn.Identity)
        and module.lora_A[names[0]].bias is None
        and module.lora_B[names[0]].bias is None
    )
