"""The order of training data: a pure function of (seed, global row index), with no state to save or to lose.

Rows come in blocks of BLOCK with a fixed number for each task; inside a block the places are shuffled. The k-th row
that a task gives is row perm(k mod n) of its epoch k // n, where perm is a small Feistel network, so that any row is
found in O(1) without memory (format-preserving encryption by cycle walking: Black and Rogaway 2002). When the mixture
changes, every task goes on in the epoch where it was: a row is seen again only when all others have been.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from omni.errors import InputError

BLOCK = 1024
ROUNDS = 6
_U = np.uint64


def quotas(
    rows: Mapping[str, int], temperature: float = 1.0, weights: Mapping[str, float] | None = None,
    max_epochs: float = 0.0, budget: int = 0,
) -> np.ndarray:  # fmt: skip
    """Rows of each task in a block, [tasks] summing to BLOCK.

    A task's share is n^(1/temperature) times its factor in `weights` (1 where it has none), n its number of rows
    (Arivazhagan et al. 2019); with max_epochs it is that of `unimax` for `budget` rows, times the factor. Fractions go
    to the largest remainders; every task with a share gets at least a row.
    Raises InputError for an unknown task, a negative weight, no task left or more tasks than a block has rows.
    """
    weights = weights or {}
    for name, weight in weights.items():
        if name not in rows:
            raise InputError(f"mixture.weights: no task {name!r}; there are {', '.join(rows)}")
        if not 0 <= weight < float("inf"):
            raise InputError(f"mixture.weights.{name}: must be at least 0, got {weight}")
    if not temperature > 0:
        raise InputError(f"mixture.temperature: must be above 0, got {temperature}")
    if not 0 <= max_epochs < float("inf") or (max_epochs and temperature != 1):
        raise InputError(f"mixture.max_epochs: must be 0 or more, and needs temperature 1, got {max_epochs}")
    factor = np.array([weights.get(name, 1.0) for name in rows])
    with np.errstate(over="ignore", invalid="ignore"):
        share = factor * np.array(list(rows.values())) ** (1 / temperature)
        if max_epochs:
            share = factor * unimax(np.where(factor > 0, list(rows.values()), 0), budget, max_epochs)
        if not np.isfinite(share.sum()):
            raise InputError("mixture: shares too large for a number; use a higher temperature, or smaller weights")
    active = int((share > 0).sum())
    if not 0 < active <= BLOCK:
        raise InputError(f"mixture: {active} tasks have a share; there must be 1..{BLOCK}")
    exact = share / share.sum() * BLOCK
    units = np.floor(exact)
    units[np.argsort(-(exact - units), kind="stable")[: BLOCK - int(units.sum())]] += 1
    for missing in np.flatnonzero((units == 0) & (share > 0)):
        units[missing] += 1
        units[np.argmax(units)] -= 1
    return units.astype(np.int64)


def unimax(rows: np.ndarray, budget: int, max_epochs: float) -> np.ndarray:
    """How many of `budget` rows each task gives, [tasks]: equally many, but none is seen more than max_epochs times.

    (UniMax, Chung et al. 2023, algorithm 1.) What a task of `rows` rows cannot give the larger ones share; where all
    together cannot, the sum stays below the budget.
    """
    found, left = np.zeros(len(rows)), float(budget)
    for place, task in enumerate(np.argsort(rows, kind="stable").tolist()):  # the smallest first
        found[task] = min(left / (len(rows) - place), max_epochs * rows[task])
        left -= found[task]
    return found


@dataclass(frozen=True)
class Order:
    """Which row of which task stands at each global index of a stage.

    rows: number of rows of each task; quotas: rows of each task in a block, summing to BLOCK;
    before: rows that each task gave in earlier stages
    """

    rows: tuple[int, ...]
    quotas: tuple[int, ...]
    seed: int
    stage: int = 0
    before: tuple[int, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[int], units: np.ndarray, seed: int) -> "Order":
        return cls(tuple(map(int, rows)), tuple(map(int, units)), seed)

    def at(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Task and row of each index: [n] int64 to two arrays [n] int64."""
        index = np.asarray(index, dtype=np.int64)
        sizes, units, before = np.array(self.rows), np.array(self.quotas), np.array(self.before or [0] * len(self.rows))
        block, place = np.divmod(index, BLOCK)
        task, rank = np.empty_like(index), np.empty_like(index)
        for number in np.unique(block).tolist():
            here = block == number
            tasks, ranks = _arrangement(self.quotas, self.seed, self.stage, number)
            task[here], rank[here] = tasks[place[here]], ranks[place[here]]
        draw = before[task] + block * units[task] + rank                # how many rows the task gave before
        epoch, position = np.divmod(draw, sizes[task])
        return task, permute(position, sizes[task], _key(self.seed, task, epoch))

    def given(self, consumed: int) -> np.ndarray:
        """Rows of each task among the first `consumed`, [tasks]; those of earlier stages included."""
        block, rest = divmod(consumed, BLOCK)
        tasks, _ = _arrangement(self.quotas, self.seed, self.stage, block)
        partial = np.bincount(tasks[:rest], minlength=len(self.rows))
        return np.array(self.before or [0] * len(self.rows)) + block * np.array(self.quotas) + partial

    def epochs(self, consumed: int) -> np.ndarray:
        """How often each task's rows have been seen on average after `consumed` rows, [tasks]."""
        return self.given(consumed) / np.array(self.rows)


@dataclass(frozen=True)
class Staged:
    """Orders one after the other under one global index: (first row, order) of each; the last one has no end."""

    parts: tuple[tuple[int, Order], ...]

    @classmethod
    def of(cls, rows: Sequence[int], stages: Sequence[tuple[int, np.ndarray]], seed: int) -> "Staged":
        """rows: of each task; stages: (length in rows, quotas) of each."""
        parts: list[tuple[int, Order]] = []
        first, before = 0, (0,) * len(rows)
        for number, (length, units) in enumerate(stages):
            order = Order(tuple(map(int, rows)), tuple(map(int, units)), seed, number, before)
            parts.append((first, order))
            first, before = first + length, tuple(map(int, order.given(length)))
        return cls(tuple(parts))

    def at(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Task and row of each global index: [n] int64 to two arrays [n] int64."""
        index = np.asarray(index, dtype=np.int64)
        task, row = np.empty_like(index), np.empty_like(index)
        stage = np.searchsorted([first for first, _ in self.parts], index, side="right") - 1
        for number in np.unique(stage).tolist():
            first, order = self.parts[number]
            here = stage == number
            task[here], row[here] = order.at(index[here] - first)
        return task, row

    def given(self, consumed: int) -> np.ndarray:
        """Rows of each task among the first `consumed`, [tasks]."""
        first, order = self._stage(consumed)
        return order.given(consumed - first)

    def epochs(self, consumed: int) -> np.ndarray:
        """How often each task's rows have been seen on average after `consumed` rows, [tasks]."""
        first, order = self._stage(consumed)
        return order.epochs(consumed - first)

    def stage(self, row: int) -> int:
        """The number of the stage that a global index belongs to, from 0."""
        return self._stage(row)[1].stage

    def _stage(self, consumed: int) -> tuple[int, Order]:
        return next((first, order) for first, order in reversed(self.parts) if first <= consumed)


@lru_cache(maxsize=64)
def _arrangement(units: tuple[int, ...], seed: int, stage: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Task of each place of a block, and how many of that task stand before it: two arrays [BLOCK]."""
    place = np.arange(BLOCK)
    key = _key(seed, np.full(BLOCK, -1 - stage), np.full(BLOCK, block))
    task = np.repeat(np.arange(len(units)), units)[permute(place, np.full(BLOCK, BLOCK), key)]
    by_task = np.argsort(task, kind="stable")
    rank = np.empty(BLOCK, np.int64)
    rank[by_task] = place - np.repeat(np.cumsum(units) - units, units)
    return task, rank


def permute(index: np.ndarray, size: np.ndarray, key: np.ndarray) -> np.ndarray:
    """A keyed permutation of 0 .. size-1, elementwise: index, size [n] int64 and key [n] uint64 to [n] int64."""
    half = (np.ceil(np.log2(np.maximum(size, 4))).astype(np.int64) + 1) // 2
    half = half.astype(_U)
    out = _feistel(index.astype(_U), half, key)
    outside = out >= size.astype(_U)
    while outside.any():                                                # walk the cycle until it is back inside
        out[outside] = _feistel(out[outside], half[outside], key[outside])
        outside = out >= size.astype(_U)
    return out.astype(np.int64)


def _feistel(value: np.ndarray, half: np.ndarray, key: np.ndarray) -> np.ndarray:
    mask = (_U(1) << half) - _U(1)
    left, right = value >> half, value & mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (_mix(right ^ _mix(key + _U(turn))) & mask)
    return (left << half) | right


def _key(seed: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    start = _mix(np.full(first.shape, seed % (1 << 63), dtype=_U))
    return _mix(_mix(start ^ first.astype(_U)) ^ second.astype(_U))


def _mix(value: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014): every bit of the result depends on every bit of `value`."""
    value = value + _U(0x9E3779B97F4A7C15)
    value = (value ^ (value >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> _U(27))) * _U(0x94D049BB133111EB)
    return value ^ (value >> _U(31))
