import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from omni.eval.statistics import bootstrap, wilson


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
