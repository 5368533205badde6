"""Intervals around measured scores."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL_95 = 1.959964


def wilson(successes: float, n: int, z: float = LEVEL_95) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927): low and high in 0..1; the whole of it when nothing was observed.

    Of values between 0 and 1, whose sum `successes` may be, it is at least as wide as it has to be: none vary more than
    a coin of the same mean (Bhatia and Davis 2000). A bootstrap of a few that are all 0 would be 0 to 0.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: Sequence[float], resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a mean at 95 % (Efron 1979): low and high; not a number for no values."""
    if not values:
        return math.nan, math.nan
    sample = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(len(sample), size=(resamples, len(sample)))
    low, high = np.percentile(sample[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def bootstrap_of(
    rows: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], float], resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval at 95 % of any statistic of the observations `rows` [n, ...]."""
    random = np.random.default_rng(seed)
    drawn = [statistic(rows[random.integers(len(rows), size=len(rows))]) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two systems are right equally often (McNemar 1947).

    only_first, only_second: samples that one of them got right and the other did not
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1)) / 2**discordant
    return min(1.0, 2 * tail)


def randomization(
    first: NDArray[np.float64], second: NDArray[np.float64], value: Callable[[NDArray[np.float64]], float],
    rounds: int = 2000, seed: int = 0,
) -> float:  # fmt: skip
    """Two-sided p-value of a difference between paired rows [n, ...] (randomization; Riezler and Maxwell 2005).

    How often swapping the systems' rows of random samples makes a difference at least as large as the one observed.
    """
    random = np.random.default_rng(seed)
    observed = abs(value(first) - value(second))
    beyond = 0
    for _ in range(rounds):
        swap = (random.random(len(first)) < 0.5).reshape(-1, *[1] * (first.ndim - 1))
        beyond += abs(value(np.where(swap, second, first)) - value(np.where(swap, first, second))) >= observed - 1e-12
    return (beyond + 1) / (rounds + 1)


def paired_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], value: Callable[[NDArray[np.float64]], float],
    resamples: int = 1000, seed: int = 0,
) -> tuple[float, float]:  # fmt: skip
    """Percentile interval at 95 % of value(second) - value(first), the same samples drawn of both."""
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = random.integers(len(first), size=len(first))
        drawn.append(value(second[rows]) - value(first[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def paired_shares(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Interval at 95 % of mean(second) - mean(first) of the same samples, each 0 to 1 (Bonett and Price 2012).

    A bootstrap of pairs that all agree would be 0 to 0, however few they are. Of values between 0 and 1 it is at least
    as wide as it has to be: none of their differences varies more than one of a coin.
    """
    change, n = second - first, len(first) + 2
    won, lost = ((np.maximum(0, side).sum() + 1) / n for side in (change, -change))
    half = LEVEL_95 * math.sqrt((won + lost - (won - lost) ** 2) / n)
    return max(-1.0, float(won - lost - half)), min(1.0, float(won - lost + half))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that at least one of k attempts, drawn from n of which some are correct, is (Chen et al. 2021)."""
    if not 0 < k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {correct} correct in {n} attempts: wants 0 < k <= n and 0 <= correct <= n")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def consensus_at_k(answers: Sequence[str], right: str, k: int) -> float:
    """Chance that the most frequent of k answers drawn from these is the right one; ties are shared (cons@k).

    Exact over all draws without order, by counts of each answer; like Wang et al. (2022), self-consistency.
    """
    if not 0 < k <= len(answers):
        raise ValueError(f"cons@{k} of {len(answers)} answers: wants 0 < k <= n")
    counts = Counter(answers)
    others = [count for answer, count in counts.items() if answer != right]
    won = 0.0
    for own in range(1, min(k, counts[right]) + 1):
        won += math.comb(counts[right], own) * _won(tuple(others), k - own, own)
    return won / math.comb(len(answers), k)


def _won(others: tuple[int, ...], rest: int, own: int) -> float:
    """Sum over draws of `rest` from the other answers, none more than `own`, of 1 over those that lead with `own`."""
    ways: dict[tuple[int, int], int] = {(0, 1): 1}                      # (drawn so far, leaders) to number of draws
    for count in others:
        more: dict[tuple[int, int], int] = {}
        for (drawn, leaders), number in ways.items():
            for take in range(min(count, own, rest - drawn) + 1):
                key = (drawn + take, leaders + (take == own))
                more[key] = more.get(key, 0) + number * math.comb(count, take)
        ways = more
    return sum(number / leaders for (drawn, leaders), number in ways.items() if drawn == rest)
