"""Losses that can be differentiated twice, for the curvature of a model that is otherwise as it trains.

Hand-written gradients and fused attention kernels have no second derivative: within `twice_differentiable` the model
takes torch's own way instead, operation by operation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

P = ParamSpec("P")
R = TypeVar("R")
REFUSAL = "a gradient is written by hand; compute the loss within omni.model.twice.twice_differentiable()"
_depth = 0                                                              # not of a thread: CUDA recomputes in its own


def wanted_twice() -> bool:
    """Whether what is computed now is to be differentiated twice."""
    return _depth > 0


def once(backward: Callable[P, R]) -> Callable[P, R]:
    """A function's `backward` that refuses to be recorded, since what it computes would count as a constant.

    torch's `once_differentiable` refuses only where the gradient that it is given is recorded itself.
    """

    @wraps(backward)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # `create_graph`
            raise RuntimeError(REFUSAL)
        return backward(*args, **kwargs)

    return refusing


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Within it a model's forward pass, and the backward pass that `create_graph` records, have derivatives.

    Attention uses the one backend of PyTorch with second derivatives; what was compiled runs uncompiled.
    """
    global _depth
    _depth += 1
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        _depth -= 1
