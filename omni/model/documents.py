"""The documents of packed rows, laid out so that no step is computed twice, masked away or padded.

Almost everything in a Transformer treats steps alone; only attention needs to know which steps belong together. So the
real steps of a batch are taken out of their rows, documents of equal length side by side. Attention then runs once for
each length on a plain causal [documents, heads, length, head_dim] view, where a dense mask over the rows would compute
(and throw away) every pair of steps from different documents. Many small kernels do not suit a GPU: there a single one
goes over all documents, told where each begins (FlashAttention-2, Dao 2023).
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from omni.model.twice import wanted_twice

PAST = (-1, 0)                                                          # a window: all steps before, none behind


@dataclass(frozen=True)
class Documents:
    """Where each step of the layout comes from.

    order:    [real] flat index batch * steps of each step
    place:    [batch * steps] the inverse; padding points at the first step
    position: [real] position within the document
    starts:   [documents + 1] int32, where each document begins in the layout, and where the last one ends
    longest:  steps of the longest document
    sizes:    steps of each group; groups: (documents, length) of each
    """

    order: Tensor
    place: Tensor
    position: Tensor
    starts: Tensor
    longest: int
    sizes: list[int]
    groups: list[tuple[int, int]]

    @classmethod
    def of(cls, document: Tensor) -> "Documents":
        """document: [batch, steps] int, runs of equal numbers are documents, 0 is padding.

        Where all is padding its first step passes for a document, so that every weight takes part in the (zero) loss:
        processes that share gradients wait for each other's. All is worked out on the CPU: a GPU is waited for once.
        """
        device, document = document.device, document.cpu()
        if not document.any():
            document = document.clone()
            document[0, 0] = 1
        edge = torch.ones_like(document, dtype=torch.bool)
        edge[:, 1:] = document[:, 1:] != document[:, :-1]
        start = edge.flatten().nonzero().squeeze(1)                     # [runs]
        length = torch.diff(start, append=start.new_tensor([document.numel()]))
        real = document.flatten()[start] > 0
        start, length = start[real], length[real]                       # [documents]
        length, by_length = length.sort(stable=True)
        first = length.cumsum(0) - length                               # where each document begins in the layout
        position = torch.arange(int(length.sum())) - first.repeat_interleave(length)
        order = start[by_length].repeat_interleave(length) + position
        place = torch.zeros(document.numel(), dtype=torch.long)
        place[order] = torch.arange(len(order))
        starts = torch.cat((first, length.sum()[None])).int()
        lengths, counts = length.unique_consecutive(return_counts=True)
        groups = list(zip(counts.tolist(), lengths.tolist(), strict=True))
        order, place, position, starts = (one.to(device) for one in (order, place, position, starts))
        return cls(order, place, position, starts, groups[-1][1], [count * size for count, size in groups], groups)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention within each document: [real, heads, head_dim] to the same; k and v may have fewer heads."""
        grouped = q.shape[1] != k.shape[1]
        fits = q.is_cuda and v.dtype != torch.float32 and q.shape[2] % 8 == 0  # what the kernel takes
        if fits and not wanted_twice():
            from torch.nn.attention.varlen import varlen_attn  # takes two seconds, so only where it is used

            q, k = q.to(v.dtype), k.to(v.dtype)                         # norms leave fp32 behind under autocast
            at, most = self.starts, self.longest
            return cast(Tensor, varlen_attn(q, k, v, at, at, most, most, window_size=PAST, enable_gqa=grouped))
        parts = []
        split = zip(q.split(self.sizes), k.split(self.sizes), v.split(self.sizes), self.groups, strict=True)
        for *qkv, (count, length) in split:                             # views, nothing is copied
            q_, k_, v_ = (x.unflatten(0, (count, length)).transpose(1, 2) for x in qkv)
            y = F.scaled_dot_product_attention(q_, k_, v_, is_causal=True, enable_gqa=grouped)
            parts.append(y.transpose(1, 2).flatten(0, 1))               # [documents * length, heads, head_dim]
        return torch.cat(parts)
