"""Feeding a few steps of a few conversations at once: the face of the ways to do so."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

from torch import Tensor

from omni.model.cache import Cache
from omni.model.transformer import OmniTransformer

Step = Callable[[Tensor, Cache], Tensor]                                # ids [batch, steps, channels] to states


class Together(ABC):
    """`model.extend`, faster for few steps of one row, and of several rows with a cache each."""

    def __init__(self, model: OmniTransformer) -> None:
        self.model = model

    def __call__(self, ids: Tensor, cache: Cache) -> Tensor:
        steps = ids.shape[1]
        if not self.takes(cache, steps):
            return self.model.extend(ids, cache)
        return self.together(ids[0], [cache] * steps)[None]

    def empty(self, batch: int, max_steps: int) -> Cache:
        """A cache with room for so many steps."""
        return Cache.empty(self.model.config, batch, max_steps, self.model.table)

    @property
    def nbytes(self) -> int:
        """Bytes that were set aside for caches, whether or not there are any."""
        return 0

    def ready(self) -> None:  # noqa: B027  most have nothing to do
        """Do now whatever is slow the first time."""

    @abstractmethod
    def takes(self, cache: Cache, steps: int) -> bool:
        """Whether so many steps can be added to a cache so."""

    def together(self, ids: Tensor, caches: Sequence[Cache]) -> Tensor:
        """Steps [rows, channels], each of which joins a cache, to states [rows, d_model].

        A cache that is named several times gets as many steps, one after the other.
        """
        added, at = Counter[Cache](), list[int]()
        for cache in caches:
            at.append(cache.length + added[cache])
            added[cache] += 1
        states = self._joined(ids, caches, at)
        for cache, steps in added.items():
            cache.length += steps
        return states

    @abstractmethod
    def _joined(self, ids: Tensor, caches: Sequence[Cache], at: Sequence[int]) -> Tensor:
        """The states [rows, d_model] of steps that become number `at` of their caches."""
