import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from omni.eval.statistics import (
    bootstrap,
    consensus_at_k,
    holm,
    mcnemar,
    paired_shares,
    pass_at_k,
    randomization,
    wilson,
)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipys(counts: tuple[int, int]) -> None:
    interval = binomtest(*counts).proportion_ci(0.95, method="wilson")
    assert wilson(*counts) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_nothing_observed_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert all(np.isnan(bootstrap([])))


def test_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        low, high = bootstrap(random.normal(size=60).tolist(), resamples=300, seed=seed)
        inside += low <= 0 <= high
    assert 0.88 <= inside / 200 <= 0.99


@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_is_an_exact_sign_test(first: int, second: int) -> None:
    exact = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(exact)


def test_randomization_comes_close_to_the_count_of_all_swaps() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(8, 2)), random.normal(0.6, size=(8, 2))

    def value(rows: np.ndarray) -> float:
        return float(rows[:, 0].sum() / (10 + rows[:, 1].sum()))

    observed, beyond = abs(value(first) - value(second)), 0
    for swap in itertools.product((False, True), repeat=8):
        mask = np.array(swap)[:, None]
        beyond += abs(value(np.where(mask, second, first)) - value(np.where(mask, first, second))) >= observed - 1e-12
    assert randomization(first, second, value, rounds=4000) == pytest.approx(beyond / 256, abs=0.03)


def test_holm_by_its_definition() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06]) and holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_all_draws(case: tuple[int, int, int]) -> None:
    n, correct, k = case
    draws = list(itertools.combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(np.mean([any(draw) for draw in draws]))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=8).flatmap(
    lambda answers: st.tuples(st.just(answers), st.integers(1, len(answers)))))  # fmt: skip
def test_consensus_at_k_is_the_share_of_all_draws_with_ties_shared(case: tuple[list[str], int]) -> None:
    answers, k = case
    won = []
    for draw in itertools.combinations(answers, k):
        most = max(map(draw.count, draw))
        leaders = {one for one in draw if draw.count(one) == most}
        won.append((1 / len(leaders)) if "a" in leaders else 0.0)
    assert consensus_at_k(answers, "a", k) == pytest.approx(np.mean(won))


def test_impossible_counts_are_refused() -> None:
    for wrong in ((5, 6, 1), (5, 2, 6), (5, 2, 0)):
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k(*wrong)
    with pytest.raises(ValueError, match="cons@3"):
        consensus_at_k(["a"], "a", 3)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n", [40, 100])
def test_planted_rates_lie_inside_wilsons_interval_in_nine_of_ten_seeds(rate: float, n: int) -> None:
    inside = 0
    for seed in range(100):
        low, high = wilson(int((np.random.default_rng(seed).random(n) < rate).sum()), n)
        inside += low <= rate <= high
    assert inside >= 90


def test_a_difference_of_shares_of_the_same_samples_lies_in_its_interval_and_few_that_agree_prove_little() -> None:
    chance, inside = np.random.default_rng(0), 0
    for _ in range(400):
        first = chance.random(40) < 0.7
        second = np.where(chance.random(40) < 0.8, first, chance.random(40) < 0.3)
        low, high = paired_shares(first.astype(float), second.astype(float))
        inside += low <= 0.2 * (0.3 - 0.7) <= high
    assert 370 <= inside <= 396
    low, high = paired_shares(np.ones(6), np.ones(6))
    assert low == -high and high > 0.3
    assert paired_shares(np.zeros(2), np.ones(2))[1] == 1.0
