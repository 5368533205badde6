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


class Weights:
    """Parameters of blocks as stack.c reads them, in its order, block after block.

    Matrices are read with two bytes a weight where that loses nothing, as codecs are shipped: reading them is what a
    stream's few steps take their time for. A parameter that has changed, in place or by `.to`, is read anew.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = tuple(parameters)
        self.halved = False
        self._counted = not any(one.is_inference() for one in parameters)  # else a change in place goes unseen
        self._seen: list[int] = []
        self._held: list[Tensor] = []
        self._at: ctypes.Array[ctypes.c_size_t] = addresses(())

    def addresses(self) -> "ctypes.Array[ctypes.c_size_t]":
        """Where they lie as long as this is kept."""
        seen = [one.data_ptr() for one in self.parameters]
        seen += [one._version for one in self.parameters] if self._counted else []
        if seen != self._seen:
            self._hold()
            self._seen, self._at = seen, addresses(self._held)
        return self._at

    def _hold(self) -> None:
        matrices = [one.detach() for one in self.parameters if one.ndim == 2]
        halves = [one.half() for one in matrices]
        self.halved = all(map(_can_be, halves, matrices))
        read = iter(halves)
        self._held = [next(read) if self.halved and one.ndim == 2 else one for one in self.parameters]


def _can_be(half: Tensor, weight: Tensor) -> bool:
    """Whether the kernel can take a matrix of halves for the weights."""
    return weight.shape[1] % 8 == 0 and bool((half.float() == weight).all() & half.isfinite().all())


def run_stack(x: Tensor, weights: Weights, states: Pointers, hidden: int, eps: float) -> tuple[Tensor, list[Tensor]]:
    """What blocks make of x [1, time, width], and their states after it; states: a block's, [1, past, width] each."""
    stack = _function()
    assert stack is not None
    y = x.contiguous().clone()
    held = [state.contiguous() for state in states]
    after = [torch.empty_like(state) for state in held]
    past, width = held[0].shape[1:]
    steps, given = x.shape[1], weights.addresses()
    scratch = x.new_empty((past + steps) * width + steps * (width + hidden))
    stack(
        len(states), width, hidden, past + 1, steps, weights.halved, eps, given, addresses(held), addresses(after),
        y.data_ptr(), scratch.data_ptr(),
    )  # fmt: skip
    return y, after


@functools.cache
def _function() -> "ctypes._NamedFuncPointer | None":
    arguments = [ctypes.c_int64] * 6 + [ctypes.c_float] + [ctypes.c_void_p] * 5
    return function(SOURCE, "omni_stack", arguments, "streams of sound take twice as long")
