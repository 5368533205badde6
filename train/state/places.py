"""Where values lie in a flattened parameter: in one run, or in many where processes have shares of its columns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from omni.model.tensor_parallel import Cut, TensorParallel


@dataclass(frozen=True)
class Place:
    """`numel` values of a flattened parameter, from `start` on in one run or, with a stride, in runs of `width`."""

    start: int
    numel: int
    width: int = 0
    stride: int = 0

    @property
    def stop(self) -> int:
        """Behind the last of them."""
        if not self.stride:
            return self.start + self.numel
        return self.start + (self.numel // self.width - 1) * self.stride + self.width

    def index(self) -> Tensor:
        """Where each value lies: [numel] long."""
        own = torch.arange(self.numel)
        if not self.stride:
            return self.start + own
        return self.start + own // self.width * self.stride + own % self.width

    def find(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which of some places in the parameter are among these, [n] bool, and which of these values those are."""
        beyond = index - self.start
        inside = (index >= self.start) & (index < self.stop)
        if self.stride:
            inside &= beyond % self.stride < self.width
            beyond = beyond // self.stride * self.width + beyond % self.stride
        return inside, beyond[inside]

    def __str__(self) -> str:
        return f"{self.start},{self.width},{self.stride}" if self.stride else str(self.start)

    @classmethod
    def parse(cls, text: str, numel: int) -> "Place":
        """The place that was written as `text`. Raises ValueError where none was."""
        start, width, stride = map(int, text.split(",")) if "," in text else (int(text), 0, 0)
        return cls(start, numel, width, stride)


@dataclass(frozen=True)
class Fragment:
    """Values of a flattened parameter: live 1-D tensors by kind (weight, exp_avg, ..). The fields between are those of
    its `place`."""

    name: str
    start: int
    numel: int
    values: dict[str, Tensor]
    width: int = 0
    stride: int = 0

    @property
    def place(self) -> Place:
        return Place(self.start, self.numel, self.width, self.stride)

    def part(self, first: int, numel: int, place: Place) -> "Fragment":
        """Some of the values, `numel` from the `first` on, that lie at another place."""
        values = {kind: value.narrow(0, first, numel) for kind, value in self.values.items()}
        return Fragment(self.name, place.start, numel, values, place.width, place.stride)


def placed(parts: Iterable[Fragment], parallel: TensorParallel, needed: bool) -> Iterator[Fragment]:
    """Fragments of shares as fragments of the undivided parameters.

    Of what is whole everywhere only the first process keeps its fragments, unless they are `needed`.
    """
    for part in parts:
        cut = parallel.cuts.get(part.name)
        if cut is not None:
            yield from _of_share(part, cut, parallel.rank, parallel.size)
        elif needed or parallel.rank == 0:
            yield part


def _of_share(part: Fragment, cut: Cut, rank: int, size: int) -> Iterator[Fragment]:
    """A fragment of the share of process `rank` of `size`, cut where it does not go on in the undivided parameter."""
    if cut.dim == 1:
        yield from _of_columns(part, cut.sizes[0], rank, size)
        return
    low = 0                                                             # of a layer's rows, in the share
    for begin, rows in zip(cut.starts(), cut.sizes, strict=True):
        mine = rows // size * cut.across                                # values of that layer in the share
        start, stop = max(part.start, low), min(part.start + part.numel, low + mine)
        if start < stop:
            there = begin * cut.across + rank * mine + start - low
            yield part.part(start - part.start, stop - start, Place(there, stop - start))
        low += mine


def _of_columns(part: Fragment, columns: int, rank: int, size: int) -> Iterator[Fragment]:
    """Up to three fragments: the end of a row, whole rows, the beginning of one."""
    width, at, left = columns // size, part.start, part.numel
    while left:
        row, column = divmod(at, width)
        there = row * columns + rank * width + column
        if column or left < width:
            count = min(width - column, left)
            place = Place(there, count)
        else:
            count = left // width * width
            place = Place(there, count, width, columns)
        yield part.part(at - part.start, count, place)
        at, left = at + count, left - count
