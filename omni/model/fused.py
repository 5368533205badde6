"""Norm and rotation with hand-written gradients: half the passes over memory that autograd's own would take on a CPU.

On one core these element-wise passes are a fifth of an eager training step. torch.compile and GPUs do as well by
themselves, so everything but fp32 training on a CPU takes torch's own path.
"""

from typing import Any

import torch
from torch import Tensor, nn

from omni.model.twice import once, wanted_twice


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = square.div_(x.shape[-1]).add_(eps).rsqrt_()             # [..., 1]
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        grad = grads[0]
        product = grad * normed
        along = (product @ weight).div_(weight.shape[0])[..., None]     # what of the gradient only scales x
        grad_x = (grad * weight).addcmul_(normed, along, value=-1).mul_(scale)
        return grad_x, product.flatten(0, -2).sum(dim=0), None


class RMSNorm(nn.RMSNorm):
    """torch.nn.RMSNorm (Zhang and Sennrich 2019), faster to train on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if by_hand(x):
            return _RMSNorm.apply(x, self.weight, self.eps or torch.finfo(x.dtype).eps)
        return super().forward(x)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, sin, -1), None, None                # the inverse of a rotation turns back


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Turn queries or keys [..., head_dim] by their positions; `rope` (omni.model.attention.Rope) broadcasts."""
    if by_hand(x):
        return _Rotate.apply(x, *rope)
    cos, sin = rope
    return (x * cos + _swap(x) * sin).to(x.dtype)


def by_hand(x: Tensor) -> bool:
    """Whether gradients are wanted in fp32 on a CPU, outside torch.compile, and only once."""
    wanted = torch.is_grad_enabled() and x.dtype == torch.float32 and x.device.type == "cpu"
    return wanted and not torch.compiler.is_compiling() and not wanted_twice()


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    return (x * cos).addcmul_(_swap(x), sin, value=sign)


def _swap(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat((x[..., half:], x[..., :half]), dim=-1)
