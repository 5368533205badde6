"""One-bit layers (Zhang, Garg, Cao, Lew, Ghorbani, Zhang and Firat 2023): trained, and stored eight weights a byte.

A row of weights w stands for sign(w) B/2 with B = max|w|; so may what a step gives to a layer. The half keeps sums of D
products at the size that a float layer gives them; bare signs would inflate their variance by D.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.model.config import ModelConfig

BITS, SCALE = ".bits", ".scale"


class _Binarized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        bound = x.abs().amax(dim=-1, keepdim=True)
        inside = 1 - 1e-6                                               # spelt here: torch.compile fails over a global
        ctx.save_for_backward(x.abs() <= bound * inside)                # where nothing is clipped
        return torch.where(x < 0, -0.5, 0.5).to(x.dtype) * bound

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return grad * inside


def binarized(x: Tensor) -> Tensor:
    """±B/2 by sign with B = max|x| over the last dimension; 0 counts as positive.

    The gradient passes straight through, except where a value is clipped, and the bound has none (section 3).
    """
    return _Binarized.apply(x)


class BinaryLinear(nn.Linear):
    """A layer whose product sees one bit a weight, and of its inputs, too, where `activation_bits` is 1.

    `weight` [out, in] holds the floats that training moves. What is to be binarized late is switched off until then.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = False, activation_bits: int = 32) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.binary_weight, self.binary_input = True, activation_bits == 1

    def forward(self, x: Tensor) -> Tensor:
        x = binarized(x) if self.binary_input else x                    # [..., in], a bound for each step
        return F.linear(x, binarized(self.weight) if self.binary_weight else self.weight, self.bias)


def linear(config: ModelConfig, inputs: int, outputs: int, bias: bool = False) -> nn.Linear:
    """A layer of a block: one-bit where the config has it so, or of floats."""
    if config.weight_bits == 1:
        return BinaryLinear(inputs, outputs, bias, config.activation_bits)
    return nn.Linear(inputs, outputs, bias=bias)


def one_bit_layers(model: nn.Module) -> dict[str, BinaryLinear]:
    """Those of a model, by the names of their matrices."""
    return {f"{path}.weight": one for path, one in model.named_modules() if isinstance(one, BinaryLinear)}


def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix [rows, cols] as bits [rows, ceil(cols / 8)] uint8, 1 for minus, lowest first, and B/2 [rows] float32."""
    rows, cols = weight.shape
    minus = F.pad((weight < 0).to(torch.uint8), (0, -cols % 8)).view(rows, -1, 8)
    places = 2 ** torch.arange(8, dtype=torch.uint8)
    return (minus * places).sum(dim=-1, dtype=torch.uint8), weight.abs().amax(dim=1).float() / 2


def unpack(bits: Tensor, scale: Tensor, cols: int) -> Tensor:
    """The matrix [rows, cols] that `pack` was given, as ±scale: binarizing it again gives the same after doubling."""
    minus = (bits[:, :, None] >> torch.arange(8, dtype=torch.uint8)) & 1  # [rows, bytes, 8]
    signs = 1.0 - 2.0 * minus.flatten(1)[:, :cols].float()
    return signs * scale[:, None]


def pack_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's state with one-bit matrices packed: NAME.bits and NAME.scale instead of NAME.weight."""
    state = dict(model.state_dict())
    for path, module in model.named_modules():
        if isinstance(module, BinaryLinear):
            weight = state.pop(f"{path}.weight")
            state[path + BITS], state[path + SCALE] = pack(weight)
    return state


def packed_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """What `pack_state` of such a model holds, by name, without packing anything."""
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    for path, module in model.named_modules():
        if isinstance(module, BinaryLinear):
            rows, cols = shapes.pop(f"{path}.weight")
            shapes[path + BITS], shapes[path + SCALE] = torch.Size((rows, -(-cols // 8))), torch.Size((rows,))
    return shapes


def unpack_state(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state that `pack_state` packed, for a model of the same shape. Latent floats are gone: weights are ±B."""
    found = {name: value for name, value in state.items() if not name.endswith((BITS, SCALE))}
    for path, module in model.named_modules():
        if isinstance(module, BinaryLinear):
            found[f"{path}.weight"] = 2 * unpack(state[path + BITS], state[path + SCALE], module.in_features)
    return found
