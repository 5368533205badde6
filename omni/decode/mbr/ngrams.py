"""Bags of n-grams as integers, and how much bags have in common: what chrF and BLEU count, for many pairs at once."""

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omni.native import function

Ints = NDArray[np.int64]
Counts = NDArray[np.int32]
Scores = NDArray[np.float64]
SOURCE = Path(__file__).with_name("ngrams.c")
MOST_ORDERS, LANES = 16, 8                                              # as in ngrams.c
ALONE = 1 << 21                                                         # n-grams that one thread sooner looks up alone


@dataclass(frozen=True)
class Grams:
    """The n-grams of `sequences` of symbols for n = 1 .. orders, each kind of n-gram under one number.

    ids, counts: [total] which n-grams a sequence has and how often, by sequence and within it by order
    bounds:      [sequences, orders + 1] where those of each order begin and end
    sizes:       [sequences, orders] how many n-grams there are of each order, repeats counted
    kinds:       how many different n-grams there are
    """

    ids: Counts
    counts: Counts
    bounds: Ints
    sizes: Ints
    kinds: int

    @classmethod
    def of(cls, sequences: Sequence[Ints], orders: int) -> "Grams":
        """Count them. An n-gram's number follows from that of its first n - 1 symbols and its last, so it is exact."""
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        symbols = np.unique(np.concatenate([*sequences, np.zeros(0, np.int64)]), return_inverse=True)[1]
        sizes = np.maximum(0, lengths[:, None] - np.arange(orders))
        kernel = _kernel("omni_count", "PLPLLPPLPPPPPP")
        counted = _counted if kernel is None else functools.partial(_counted_natively, kernel)
        ids, counts, bounds, kinds = counted(symbols.astype(np.int64), lengths, orders, int(sizes.sum()))
        return cls(ids, counts, bounds, sizes, kinds)

    def shared(self, row: int, start: int, stop: int, table: Counts) -> Counts:
        """How many n-grams of each order sequence `row` shares with each of `start` .. `stop`: [stop - start, orders].

        table: zeros [kinds], used as scratch and left as zeros.
        """
        kernel = _kernel("omni_shared", "PPPLLLLPP")
        if kernel is not None:
            found = np.empty((stop - start, self.sizes.shape[1]), np.int32)
            kernel(*self._arrays(), self.sizes.shape[1], row, start, stop, table.ctypes.data, found.ctypes.data)
            return found
        begin, end = self.bounds[row, 0], self.bounds[row, -1]
        own = self.ids[begin:end]
        table[own] = self.counts[begin:end]
        first, last = (self.bounds[start, 0], self.bounds[stop - 1, -1]) if stop > start else (0, 0)
        both = np.minimum(table[self.ids[first:last]], self.counts[first:last])
        table[own] = 0
        upto = np.concatenate(([0], both.cumsum()))
        return np.diff(upto[self.bounds[start:stop] - first], axis=1).astype(np.int32)

    def matches(self, rows: int, jobs: int = 0) -> Counts:
        """The shared n-grams of each of the first `rows` sequences with each of the others: [rows, others, orders]."""
        others, orders = len(self.bounds) - rows, self.sizes.shape[1]
        found = np.zeros((rows, others, orders), np.int32)

        def fill(mine: range) -> None:
            table = np.zeros(self.kinds, np.int32)
            for row in mine:
                found[row] = self.shared(row, rows, rows + others, table)

        in_threads(fill, rows, self._threads(rows, False, jobs))
        return found

    def matches_among(self, jobs: int = 0) -> Counts:
        """The shared n-grams of all pairs of sequences, each pair counted once: [sequences, sequences, orders]."""
        n = len(self.bounds)
        found = np.zeros((n, n, self.sizes.shape[1]), np.int32)

        def fill(mine: range) -> None:
            table = np.zeros(self.kinds, np.int32)
            for row in mine:
                found[row, row:] = found[row:, row] = self.shared(row, row, n, table)

        in_threads(fill, n, self._threads(n, True, jobs))
        return found

    def against_mean(self, rows: int, among: bool, share: Scores) -> tuple[Scores, Ints, Scores]:
        """Each of the first `rows` sequences against the mean of the bags of those after them, or, with `among`, of
        all: shared n-grams [rows, orders], n-grams of each [rows, orders] and of the mean [orders].

        share: of each sequence in the mean, adding up to 1. Linear in the sequences.
        """
        others = 0 if among else rows
        first, last = self.bounds[others, 0], self.bounds[rows - 1, -1]
        of_each = np.repeat(share, self.bounds[others:, -1] - self.bounds[others:, 0])
        mean = np.bincount(self.ids[first:], self.counts[first:] * of_each, self.kinds)  # [kinds]
        shared = np.minimum(mean[self.ids[:last]], self.counts[:last])
        upto = np.concatenate(([0], shared.cumsum()))
        return np.diff(upto[self.bounds[:rows]], axis=1), self.sizes[:rows], share @ self.sizes[others:]

    def chrf(self, rows: int, among: bool, beta: float, jobs: int = 0) -> Scores | None:
        """Sentence chrF of the first `rows` sequences against those after them, [rows, others], or, with `among`, of
        all against all, [sequences, sequences]. None where there is no C compiler. Raises ValueError for more than
        `MOST_ORDERS` orders.
        """
        if self.sizes.shape[1] > MOST_ORDERS:
            raise ValueError(f"n-grams of {self.sizes.shape[1]} orders; chrF is of at most {MOST_ORDERS}")
        kernel = _kernel("omni_chrf", "PPPPLLLLLLLdPP")
        if kernel is None:
            return None
        n, orders = self.sizes.shape
        rows, skipped = (n, 0) if among else (rows, rows)
        scores, sizes = np.empty((rows, n - skipped)), self.sizes.ctypes.data

        def fill(mine: range) -> None:
            table = np.zeros((self.kinds, LANES), np.int32)
            of, here = (n, rows, skipped, among, mine.start, mine.step), (table.ctypes.data, scores.ctypes.data)
            kernel(*self._arrays(), sizes, orders, *of, beta, *here)

        in_threads(fill, -(-rows // LANES), self._threads(rows, among, jobs, 2 / LANES))
        return scores

    def _threads(self, rows: int, among: bool, jobs: int, cost: float = 1.0) -> int:
        """How many threads count what `rows` sequences share with those after them, or with `among` all pairs.

        jobs: at most, 0 for one a core. To begin them takes as long (0.4 ms) as one looks up half a million n-grams.
        cost: of a row's look-up, for one by itself
        """
        others = self.bounds[0 if among else rows :]
        looked_up = rows * int((others[:, -1] - others[:, 0]).sum()) // (2 if among else 1)
        return 1 if looked_up * cost < ALONE else jobs or os.cpu_count() or 1

    def _arrays(self) -> list[int]:
        return [one.ctypes.data for one in (self.ids, self.counts, self.bounds)]


def in_threads(work: Callable[[range], None], count: int, jobs: int) -> None:
    """Deal 0 .. count - 1 out to so many threads, this one among them; while one counts outside Python, others run."""
    jobs = max(1, min(jobs, count))
    mine, *others = (range(first, count, jobs) for first in range(jobs))
    if not others:
        work(mine)
        return
    with ThreadPoolExecutor(len(others)) as pool:
        waited = [pool.submit(work, some) for some in others]
        work(mine)
        for one in waited:
            one.result()


def _counted_natively(
    kernel: "ctypes._NamedFuncPointer", symbols: Ints, lengths: Ints, orders: int, total: int
) -> tuple[Counts, Counts, Ints, int]:
    """`ids`, `counts`, `bounds` and `kinds` of all n-grams, `total` of them, of sequences one after the other."""
    capacity = 1 << (2 * total + 1).bit_length()
    keys, numbers = np.zeros(capacity, np.int64), np.empty(capacity, np.int32)  # pages that are not used stay unmapped
    prefix, table = np.empty(lengths.max(initial=0), np.int32), np.zeros(total, np.int32)
    ids, counts = np.empty(total, np.int32), np.empty(total, np.int32)
    bounds, kinds = np.zeros((len(lengths), orders + 1), np.int64), np.zeros(1, np.int64)
    symbols = symbols + 1                                               # so that no key is 0
    texts = (symbols.ctypes.data, int(symbols.max(initial=0)), lengths.ctypes.data, len(lengths), orders)
    hashes = (keys.ctypes.data, numbers.ctypes.data, capacity, prefix.ctypes.data, table.ctypes.data)
    kernel(*texts, *hashes, *(one.ctypes.data for one in (ids, counts, bounds, kinds)))
    found = int(bounds.max(initial=0))
    return ids[:found], counts[:found], bounds, int(kinds[0])


def _counted(symbols: Ints, lengths: Ints, orders: int, total: int) -> tuple[Counts, Counts, Ints, int]:
    """The same by sorting."""
    owner = np.repeat(np.arange(len(lengths)), lengths)                 # [symbols] whose each is
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(symbols))  # symbols from here to its owner's end
    alphabet, prefix, kinds = int(symbols.max(initial=0)) + 1, np.zeros(len(symbols), np.int64), 0
    keys: list[Ints] = []
    for order in range(1, orders + 1):
        starts = np.flatnonzero(left >= order)
        found, number = np.unique(prefix[starts] * alphabet + symbols[starts + order - 1], return_inverse=True)
        prefix = np.zeros(len(symbols), np.int64)
        prefix[starts] = number
        keys.append(np.stack((owner[starts], np.full(len(starts), order - 1), number + kinds)))
        kinds += len(found)
    rows, counts = _distinct(np.concatenate(keys, axis=1), orders, kinds)
    slots = rows[0] * orders + rows[1]
    edges = np.searchsorted(slots, np.arange(len(lengths) * orders + 1))
    bounds = edges[np.arange(len(lengths))[:, None] * orders + np.arange(orders + 1)]
    return rows[2].astype(np.int32), counts.astype(np.int32), bounds, kinds


def _distinct(keys: Ints, orders: int, kinds: int) -> tuple[Ints, Ints]:
    """Distinct columns of `keys` [owner, order, gram], sorted, and how often each occurs."""
    packed, counts = np.unique((keys[0] * orders + keys[1]) * kinds + keys[2], return_counts=True)
    slots, grams = np.divmod(packed, max(kinds, 1))
    return np.stack((slots // orders, slots % orders, grams)), counts


@functools.cache
def _kernel(name: str, arguments: str) -> "ctypes._NamedFuncPointer | None":
    """A function of ngrams.c. arguments: P for an address, L for an integer, d for a number, as struct has them."""
    types = {"P": ctypes.c_void_p, "L": ctypes.c_int64, "d": ctypes.c_double}
    return function(SOURCE, name, [types[one] for one in arguments], "counting n-grams takes several times as long")
