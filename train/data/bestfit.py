"""Best-fit-decreasing bin packing of millions of lengths, by how often each length occurs.

Best fit treats sequences of one length alike: as many as it holds go into the fullest row that has room, then into the
next such row. So the decisions are made for runs of alike rows, of which there are about as many as pairs of a length
and a number of free steps (Krell et al. 2021 pack histograms for the same reason); only the last pass, in numpy, looks
at every sequence.
"""

from collections import defaultdict

import numpy as np

CHUNK = 1 << 22                                                         # sequences placed at a time


def best_fit(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Best fit in decreasing length: the sequences row by row, and where in them each row begins.

    lengths: [sequences], each at least 1; those above `capacity` are left out.
    Returns [kept] uint32 and [rows + 1] int64. Among equal lengths the first come first.
    """
    kind = np.uint16 if capacity < 1 << 16 else np.uint32               # numpy sorts 16 bits in linear time
    left_over = np.empty(len(lengths), kind)                            # of a row with this sequence alone
    np.subtract(capacity, lengths, out=left_over, where=lengths <= capacity, casting="unsafe")
    left_over[lengths > capacity] = capacity
    counts = np.bincount(left_over, minlength=capacity + 1)[:capacity]
    sorted_ = np.argsort(left_over, kind="stable")[: counts.sum()]
    del left_over
    runs, rows = _decide(counts, capacity)
    return _place(sorted_, runs, rows)


def _decide(counts: np.ndarray, capacity: int) -> tuple[np.ndarray, int]:
    """Runs of alike rows that get alike sequences, in the order of the sequences, and the number of rows.

    counts: [capacity], sequences of length capacity, capacity - 1, .., 1
    runs: [runs, 4] int64: the first row, how many rows, sequences for each of them, sequences they had before
    """
    runs: list[tuple[int, int, int, int]] = []
    open_rows: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # free steps -> first row, rows, filled
    free = rows = 0                                                     # bit f of free: some row has f free steps
    for short in np.flatnonzero(counts).tolist():
        length, left = capacity - short, int(counts[short])
        while left:
            fitting = free >> length
            if fitting:
                room = length + (fitting & -fitting).bit_length() - 1   # of the fullest rows that still have room
                first, count, filled = open_rows[room].pop()
            else:
                room, first, filled = capacity, rows, 0
                count = -(-left // (room // length))
                rows += count
            each = room // length
            whole = min(count, left // each)
            some = min(left - whole * each, each) if whole < count else 0  # the last row may get fewer
            stay = count - whole - (some > 0)
            for start, many, size in ((first, whole, each), (first + whole, int(some > 0), some)):
                if many:
                    runs.append((start, many, size, filled))
                    open_rows[rest := room - size * length].append((start, many, filled + size))
                    free |= 1 << rest
            if stay:
                open_rows[room].append((first + count - stay, stay, filled))
            if room < capacity and not open_rows[room]:
                free &= ~(1 << room)
            left -= whole * each + some
    return np.array(runs, np.int64).reshape(-1, 4), rows


def _place(sequences: np.ndarray, runs: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The sequences [kept], which the runs take in order, row by row: [kept] uint32; and the rows' starts."""
    first, count, each, filled = runs.T
    change = np.zeros(rows + 1, np.int64)
    np.add.at(change, first, each)
    np.add.at(change, first + count, -each)
    starts = np.concatenate(([0], np.cumsum(np.cumsum(change[:-1]))))   # [rows + 1]
    order = np.empty(len(sequences), np.uint32)
    ends = np.cumsum(count * each)
    for begin in range(0, len(sequences), CHUNK):
        at = np.arange(begin, min(begin + CHUNK, len(sequences)))
        run = np.searchsorted(ends, at[[0, -1]], side="right")
        inside = np.arange(run[0], run[1] + 1)
        took = np.minimum(ends[inside], at[-1] + 1) - np.maximum(ends[inside] - (count * each)[inside], begin)
        run = np.repeat(inside, took)                                   # [chunk], the run of each sequence
        row, turn = np.divmod(at - (ends - count * each)[run], each[run])
        order[starts[first[run] + row] + filled[run] + turn] = sequences[at]
    return order, starts
