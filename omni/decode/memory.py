"""Tensors side by side in memory that is fast to read through."""

import contextlib
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT = 64                                                          # bytes: a line of the cache


def in_huge_pages(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of contiguous tensors, in order, in one block of 2 MiB pages (of ordinary ones where there are none)."""
    sizes = [-(-tensor.nbytes // ALIGNMENT) * ALIGNMENT for tensor in tensors]
    if not sum(sizes):
        return [tensor.clone() for tensor in tensors]
    memory = mmap.mmap(-1, sum(sizes))
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):                              # a kernel built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    block = torch.frombuffer(memory, dtype=torch.uint8)
    copies = []
    for tensor, part in zip(tensors, block.split(sizes), strict=True):
        copies.append(part[: tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor))
    return copies
