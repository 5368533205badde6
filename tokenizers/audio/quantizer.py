"""Finite scalar quantization: a codebook without a codebook."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FSQ(nn.Module):
    """Round each of a few bounded numbers to a few levels; the code is their mixed-radix index (Mentzer et al. 2023).

    `levels` gives the count of each dimension, so the codebook has `prod(levels)` entries, in -1..1 each. There is
    nothing to learn and nothing to collapse; the gradient passes the rounding unchanged (straight through).
    Raises ValueError for levels below 2.
    """

    radix: Tensor
    counts: Tensor
    reach: Tensor
    limit: Tensor
    offset: Tensor
    shift: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ValueError(f"FSQ needs at least one dimension of at least 2 levels, got {tuple(levels)}")
        self.levels = tuple(int(level) for level in levels)
        self.codebook_size = math.prod(self.levels)
        radix = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        self.register_buffer("radix", torch.tensor(radix), persistent=False)
        self.register_buffer("counts", torch.tensor(self.levels), persistent=False)
        self.register_buffer("reach", (self.counts // 2).float(), persistent=False)  # the lowest level is -reach
        self.register_buffer("limit", (self.counts - 1) * 1.001 / 2, persistent=False)
        self.register_buffer("offset", (self.counts % 2 == 0) * 0.5, persistent=False)
        self.register_buffer("shift", torch.atanh(self.offset / self.limit), persistent=False)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z: [..., len(levels)], any real numbers. Returns the quantized vectors, alike, and codes: long [...]."""
        bounded = self._bound(z)                                        # [..., dims], in units of one level
        rounded = bounded + (bounded.round() - bounded).detach()
        vectors = rounded / self.reach
        return vectors, self.codes(vectors.detach())

    def codes(self, vectors: Tensor) -> Tensor:
        """Quantized vectors [..., len(levels)] as codes, long [...]."""
        digits = (vectors * self.reach + self.reach).round().long()
        return (digits * self.radix).sum(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Codes, long [...], as quantized vectors [..., len(levels)]. Raises ValueError outside the codebook."""
        if codes.numel() and not (0 <= int(codes.min()) and int(codes.max()) < self.codebook_size):
            low, high = int(codes.min()), int(codes.max())
            raise ValueError(f"codes must lie in 0..{self.codebook_size - 1}, got {low}..{high}")
        digits = codes.unsqueeze(-1) // self.radix % self.counts        # [..., dims]
        return (digits - self.reach) / self.reach

    def _bound(self, z: Tensor) -> Tensor:
        """Squash to the range that rounds to exactly `counts` integers; even counts are shifted by half a step."""
        return torch.tanh(z + self.shift) * self.limit - self.offset
