"""The past of a generation: one preallocated key and value buffer a layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from omni.model.config import ModelConfig


@dataclass(eq=False)
class Cache:
    """Keys and values of the steps seen so far.

    keys, values: a buffer a layer, [batch, n_kv_heads, max_steps, head_dim] (one stacked buffer compiles 3-4x slower)
    length:       steps filled, the same for every row of the batch
    padding:      [batch] unused leading steps of each row (prompts of unequal length end together)
    """

    keys: list[Tensor]
    values: list[Tensor]
    padding: Tensor
    length: int = 0

    @classmethod
    def empty(cls, config: ModelConfig, batch: int, max_steps: int, like: Tensor) -> "Cache":
        """A cache with room for `max_steps`, of the dtype and device of `like`."""
        shape = (batch, config.n_kv_heads, max_steps, config.head_dim)

        def buffers() -> list[Tensor]:
            return [like.new_zeros(shape) for _ in range(config.n_layers)]

        return cls(buffers(), buffers(), torch.zeros(batch, dtype=torch.long, device=like.device))

    @staticmethod
    def size(config: ModelConfig, steps: int, like: Tensor) -> int:
        """Bytes of one row's keys and values of so many steps."""
        return 2 * config.n_layers * config.n_kv_heads * config.head_dim * steps * like.element_size()

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values, filled or not."""
        return sum(buffer.nbytes for buffer in (*self.keys, *self.values))

    @property
    def max_steps(self) -> int:
        return self.keys[0].shape[2]

    def rows(self, rows: Tensor) -> "Cache":
        """The past of these rows [n] of the batch alone, in buffers of its own."""

        def chosen(buffer: Tensor) -> Tensor:
            smaller = buffer.new_zeros(len(rows), *buffer.shape[1:])
            smaller[:, :, : self.length] = buffer[rows, :, : self.length]
            return smaller

        return Cache([chosen(k) for k in self.keys], [chosen(v) for v in self.values], self.padding[rows], self.length)

    def rewind(self, length: int) -> None:
        """Forget every step from `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind {self.length} steps to {length}")
        self.length = length
