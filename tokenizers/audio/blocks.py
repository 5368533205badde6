"""Causal building blocks whose past is an explicit state: whole file and stream are the same code."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.tokenizers.audio.fused import Weights, run_stack, serves


class CausalBlock(nn.Module):
    """ConvNeXt block on [batch, time, width] that sees only the past (Liu et al. 2022; Siuzdak 2023 for audio).

    The state is the last `kernel - 1` inputs, [batch, past, width]; zeros mean silence before the first step.
    """

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.past = kernel - 1
        self.mix = nn.Conv1d(width, width, kernel, groups=width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))            # keeps a deep stack near the identity at first

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat((state, x), dim=1)                             # [batch, past + time, width]
        y = self._mix(seen)                                             # [batch, time, width]
        y = self.down(F.gelu(self.up(self.norm(y))))
        return x + self.scale * y, seen[:, seen.shape[1] - self.past :]

    def weights(self) -> tuple[Tensor, ...]:
        """In the order of stack.c."""
        norm, up, down = self.norm, self.up, self.down
        return self.mix.weight, norm.weight, norm.bias, up.weight, up.bias, down.weight, down.bias, self.scale

    def _mix(self, seen: Tensor) -> Tensor:
        if torch.is_grad_enabled() or seen.shape[1] > 32:
            return self.mix(seen.transpose(1, 2)).transpose(1, 2)
        near = seen.unfold(1, self.past + 1, 1)                         # [batch, time, width, kernel]
        return (near * self.mix.weight[:, 0]).sum(-1)                   # a convolution call costs more than it computes


class CausalStack(nn.Module):
    """Causal blocks in a row; its state is the tuple of theirs."""

    def __init__(self, depth: int, width: int, kernel: int, expansion: int = 3) -> None:
        super().__init__()
        self.width, self.past, self.hidden = width, kernel - 1, expansion * width
        blocks = [CausalBlock(width, kernel, expansion) for _ in range(depth)]
        self.blocks = cast(Sequence[CausalBlock], nn.ModuleList(blocks))
        self._weights = Weights([weight for block in blocks for weight in block.weights()])

    def start(self, batch: int) -> tuple[Tensor, ...]:
        """States before the first step, one a block: zeros [batch, past, width]."""
        device = next(self.parameters()).device
        return tuple(torch.zeros(batch, self.past, self.width, device=device) for _ in self.blocks)

    def forward(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x: [batch, time, width], any time above 0. Returns the same shape and the states after it."""
        if serves(x):
            x, after = run_stack(x, self._weights, states, self.hidden, self.blocks[0].norm.eps)
            return x, tuple(after)
        after = []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block(x, state)
            after.append(state)
        return x, tuple(after)
