"""Checkpoints of shares: whatever the shares and ranges of the processes that wrote, any others find their values."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.model.tensor_parallel import Cut
from omni.train.state.checkpoint import Checkpoints, Reader, State, restore
from omni.train.state.places import Fragment, placed


class Group:
    """One of `size` processes, and how the only parameter is cut."""

    def __init__(self, cut: Cut, rank: int, size: int) -> None:
        self.cuts, self.rank, self.size = {"w": cut}, rank, size


def fragments(share: torch.Tensor, edges: list[int], group: Group) -> Iterator[Fragment]:
    """A share's flat values in ranges, as ranks of ZeRO have them, placed in the whole."""
    flat = share.view(-1)
    bounds = sorted({0, flat.numel(), *(edge % flat.numel() for edge in edges)})
    for start, stop in pairwise(bounds):
        yield from placed([Fragment("w", start, stop - start, {"weight": flat[start:stop]})], group, True)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    dim=st.integers(0, 1),
    parts=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    other=st.integers(1, 5),
    written=st.sampled_from([1, 2, 3]),
    read=st.sampled_from([1, 2, 3]),
    edges=st.lists(st.integers(0, 10_000), max_size=3),
)
def test_any_shares_are_read_from_any_others(
    dim: int, parts: list[int], other: int, written: int, read: int, edges: list[int]
) -> None:
    sizes = tuple(6 * part for part in (parts if dim == 0 else parts[:1]))
    shape = (sum(sizes), other) if dim == 0 else (other, sizes[0])
    whole, cut = torch.randn(shape), Cut(dim, sizes, shape[1])
    with TemporaryDirectory() as folder:
        state = State(1, 8, written, 0.0, [0.0, 0.0], {}, "data", "vocab")
        savings = []
        for rank in range(written):
            share = cut.of(whole, rank, written).contiguous()
            store = Checkpoints(Path(folder), rank, written)
            savings.append(store.begin(state, fragments(share, edges, Group(cut, rank, written))))
        for saving in savings:
            saving.thread.join()
        reader = Reader(Checkpoints(Path(folder), 0, written).commit(savings[0]))
        shares = []
        for rank in range(read):
            found = torch.zeros_like(cut.of(whole, rank, read)).contiguous()
            restore(reader, fragments(found, [edge // 2 for edge in edges], Group(cut, rank, read)))
            assert torch.equal(found, cut.of(whole, rank, read))
            shares.append(found)
    assert torch.equal(cut.joined(shares), whole)
