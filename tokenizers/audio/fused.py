"""stack.c as a function of Python: what a stream's few steps take instead of a dozen calls a block."""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from omni.native import addresses, function

SOURCE = Path(__file__).with_name("stack.c")
MOST_STEPS = 16                                                         # more of them a BLAS does faster
Pointers = Sequence[Tensor]


def serves(x: Tensor) -> bool:
    """Whether `run_stack` can take steps [batch, time, width]: few, of one stream on a CPU, without gradients."""
    return (
        x.shape[0] == 1
        and 0 < x.shape[1] <= MOST_STEPS
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and _function() is not None
    )


def run_stack(x: Tensor, weights: Pointers, states: Pointers, hidden: int, eps: float) -> tuple[Tensor, list[Tensor]]:
    """What blocks make of x [1, time, width], and their states after it.

    weights: in the order of stack.c, block after block; states: a block's, [1, past, width] each.
    """
    stack = _function()
    assert stack is not None
    y = x.contiguous().clone()
    held = [state.contiguous() for state in states]
    after = [torch.empty_like(state) for state in held]
    past, width = held[0].shape[1:]
    steps = x.shape[1]
    scratch = x.new_empty((past + steps) * width + steps * (width + hidden))
    stack(
        len(states), width, hidden, past + 1, steps, eps, addresses(weights), addresses(held), addresses(after),
        y.data_ptr(), scratch.data_ptr(),
    )  # fmt: skip
    return y, after


@functools.cache
def _function() -> "ctypes._NamedFuncPointer | None":
    arguments = [ctypes.c_int64] * 5 + [ctypes.c_float] + [ctypes.c_void_p] * 5
    return function(SOURCE, "omni_stack", arguments, "streams of sound take twice as long")
