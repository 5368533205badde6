"""The documents of packed rows, laid out so that no step is computed twice, masked away or padded.

Almost everything in a Transformer treats steps alone; only attention needs to know which steps belong together. So the
real steps of a batch are taken out of their rows, documents of equal length side by side. Attention then runs once for
each length on a plain causal [documents, heads, length, head_dim] view, where a dense mask over the rows would compute
(and throw away) every pair of steps from different documents.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Documents:
    """Where each step of the layout comes from.

    order:    [real] flat index batch * steps of each step
    place:    [batch * steps] the inverse; padding points at the first step
    position: [real] position within the document
    sizes:    steps of each group; groups: (documents, length) of each
    """

    order: Tensor
    place: Tensor
    position: Tensor
    sizes: list[int]
    groups: list[tuple[int, int]]

    @classmethod
    def of(cls, document: Tensor) -> "Documents":
        """document: [batch, steps] int, runs of equal numbers are documents, 0 is padding.

        Where all is padding its first step passes for a document, so that every weight takes part in the (zero) loss:
        processes that share gradients wait for each other's.
        """
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
        position = torch.arange(int(length.sum()), device=document.device) - first.repeat_interleave(length)
        order = start[by_length].repeat_interleave(length) + position
        place = torch.zeros(document.numel(), dtype=torch.long, device=document.device)
        place[order] = torch.arange(len(order), device=document.device)
        lengths, counts = length.unique_consecutive(return_counts=True)
        groups = list(zip(counts.tolist(), lengths.tolist(), strict=True))
        return cls(order, place, position, [count * size for count, size in groups], groups)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention within each document: [real, heads, head_dim] to the same; k and v may have fewer heads."""
        grouped = q.shape[1] != k.shape[1]
        parts = []
        split = zip(q.split(self.sizes), k.split(self.sizes), v.split(self.sizes), self.groups, strict=True)
        for *qkv, (count, length) in split:                             # views, nothing is copied
            q_, k_, v_ = (x.unflatten(0, (count, length)).transpose(1, 2) for x in qkv)
            y = F.scaled_dot_product_attention(q_, k_, v_, is_causal=True, enable_gqa=grouped)
            parts.append(y.transpose(1, 2).flatten(0, 1))               # [documents * length, heads, head_dim]
        return torch.cat(parts)
