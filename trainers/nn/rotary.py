"""Two small steps of a Llama-like layer, with ways back that read the data once or twice instead of ten times."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def turned(t: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """t [N, heads, size] with each pair (i, i + size / 2) turned by its angle; cos and sin as `angles` gives them.

    Rotary positions (Su et al. 2021, arXiv:2104.09864), in the order of Llama's weights.
    """
    return (t * cos).addcmul_(t.roll(t.shape[-1] // 2, dims=-1), sin)


def angles(positions: Tensor, frequencies: Tensor, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin [N, 1, size] of positions [N]; sin with the sign that it has in each half of a head."""
    turns = positions[:, None].float() * frequencies.float()
    cos, sin = turns.cos() * scale, turns.sin() * scale
    cos, sin = torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)
    return cos.to(dtype)[:, None], sin.to(dtype)[:, None]


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return turned(t, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turned(grad, cos, -sin), None, None


def turn(t: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`turned`, with a gradient for t: turning back."""
    found: Tensor = _Turn.apply(t, cos, sin)  # type: ignore[no-untyped-call]
    return found


class _RMSNorm(torch.autograd.Function):
    """weight * x / sqrt(mean x^2 + eps). Keeps nothing but its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return F.rms_norm(x, x.shape[-1:], weight, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        size = x.shape[-1]
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        r = (norm.square() / size + ctx.eps).rsqrt()
        product = grad * x
        along = product @ weight[:, None]
        for_weight = None
        if ctx.needs_input_grad[1]:
            for_weight = (r.flatten() @ product.flatten(0, -2)).view_as(weight)
        # r (g - x r^2 <g, x> / size), g = weight * grad
        for_x = (grad * weight).mul_(r).addcmul_(x, along.mul_(r.pow(3)).div_(size), value=-1)
        return for_x, for_weight, None


def rms_norm(x: Tensor, module: Any) -> Tensor:
    """What a transformers RMSNorm makes of x; in single precision with a cheaper way back."""
    if x.dtype != module.weight.dtype or x.dtype not in (torch.float32, torch.float64):
        found: Tensor = module(x)
    elif torch.is_grad_enabled():
        found = _RMSNorm.apply(x, module.weight, module.variance_epsilon)  # type: ignore[no-untyped-call]
    else:
        found = F.rms_norm(x, x.shape[-1:], module.weight, module.variance_epsilon)
    return found
