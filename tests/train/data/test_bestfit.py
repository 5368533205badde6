from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from omni.train.data import bestfit
from omni.train.data.bestfit import best_fit


def one_by_one(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best fit in decreasing length as the textbooks have it: lengths row by row."""
    rows: list[list[int]] = []
    for length in sorted((length for length in lengths if length <= capacity), reverse=True):
        fitting = [row for row in rows if sum(row) + length <= capacity]
        if fitting:
            max(fitting, key=sum).append(length)
        else:
            rows.append([length])
    return rows


@given(
    lengths=st.lists(st.integers(1, 70), max_size=80) | st.lists(st.integers(1, 9), max_size=80),
    capacity=st.integers(1, 64),
    chunk=st.sampled_from([1, 7, 1 << 22]),
)
def test_rows_are_those_of_best_fit(lengths: list[int], capacity: int, chunk: int) -> None:
    sizes = np.array(lengths, dtype=np.uint32)
    with patch.object(bestfit, "CHUNK", chunk):
        order, starts = best_fit(sizes, capacity)
    assert order.dtype == np.uint32
    assert sorted(order) == [i for i, length in enumerate(lengths) if length <= capacity]
    assert starts[0] == 0 and starts[-1] == len(order) and (np.diff(starts) > 0).all()
    used = [int(sizes[row].sum()) for row in np.split(order, starts[1:-1])] if len(order) else []
    assert all(size <= capacity for size in used)
    # rows of equally many free steps may hold other lengths, but what is free is the same
    assert sorted(used) == sorted(map(sum, one_by_one(lengths, capacity)))


def test_long_rows_and_few_alike_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 100_000, 3000)
    order, starts = best_fit(lengths, 80_000)
    assert sorted(order) == np.flatnonzero(lengths <= 80_000).tolist()
    used = np.add.reduceat(lengths[order], starts[:-1])
    assert used.max() <= 80_000 and sorted(used) == sorted(map(sum, one_by_one(lengths.tolist(), 80_000)))
