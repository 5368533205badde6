"""Feeding one step: plainly, or compiled once for every length of the past."""

import shutil
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from omni.model.cache import Cache
from omni.model.transformer import OmniTransformer

Step = Callable[[Tensor, Cache], Tensor]                                # ids [batch, 1, channels] to states


class SingleStep(nn.Module):
    """One step of every row without any decision that depends on data, so that it compiles into one graph."""

    def __init__(self, model: OmniTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, position: Tensor, keys: list[Tensor], values: list[Tensor], at: int) -> Tensor:
        """ids: [batch, 1, channels]; position: [batch, 1], equal to `at` where a row has no padding.

        keys, values: the cache's buffers, written at step `at`. Returns states [batch, 1, d_model].
        """
        rope = self.model.rope(position)
        x = self.model.embed(ids)                                       # [batch, 1, d_model]
        for block, past in zip(self.model.blocks, zip(keys, values, strict=True), strict=True):
            x = block.extend(x, rope, past, at, None)
        return self.model.norm(x)


def compiled_step(model: OmniTransformer) -> Step:
    """`model.extend` for single steps, compiled by Inductor; the first call takes half a minute unless it is cached.

    One graph serves every length: it is a symbol, and attention runs over the filled part of the buffers.
    Rows with padding need a mask and take the plain way. Without a C++ compiler the plain way is taken always, and one
    line on stderr says so.
    """
    if model.table.device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        print("no C++ compiler found: decoding runs uncompiled, about half as fast; install g++", file=sys.stderr)
        return model.extend
    run = torch.compile(SingleStep(model), fullgraph=True, dynamic=True)

    def step(ids: Tensor, cache: Cache) -> Tensor:
        at = cache.length
        if at < 2 or bool(cache.padding.any()):                         # 0 and 1 would be compiled as constants
            return model.extend(ids, cache)
        position = torch.full((len(ids), 1), at, device=ids.device)
        state: Tensor = run(ids, position, cache.keys, cache.values, at)
        cache.length = at + 1
        return state

    return step
