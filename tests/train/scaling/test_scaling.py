"""Fits against planted truth, and against scipy."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from omni.errors import InputError
from omni.train.scaling import fit, fractions
from omni.train.scaling.fraction import curve, fraction_at

from .planted import SHAPE, WEIGHTS, planted


@settings(deadline=None, max_examples=3)
@given(st.floats(0.12, 0.45), st.floats(0.5, 3), st.integers(0, 99))
@example(alpha=0.1631852096377014, floor=2.578125, seed=89)             # where a narrow Huber loss alone gets stuck
def test_planted_truth_is_found_again(alpha: float, floor: float, seed: int) -> None:
    """Alpha within 0.02 and f within 0.03, with half a thousandth of noise."""
    found = fit(planted(alpha, floor, 5e-4, seed), "multilingual")
    assert found.parameters["alpha"] == pytest.approx(alpha, abs=0.02)
    for weight, share in fractions(found.parameters).items():
        assert share == pytest.approx(float(fraction_at(np.array(weight), *SHAPE)), abs=0.03)


def test_an_unseen_weight_and_a_larger_model_are_predicted() -> None:
    seen = planted(0.3, 1.5, weights=[0.05, 0.1, 0.5, 0.9, 1.0])
    found = fit({name: values[seen["size"] < 1e6] for name, values in seen.items()}, "multilingual")
    wanted = planted(0.3, 1.5, weights=[0.3, 0.7])
    predicted = found.predict({name: wanted[name] for name in ("size", "weight")})
    assert np.abs(predicted / wanted["loss"] - 1).max() < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_the_points_order_does_not_matter(seed: int) -> None:
    """With four sizes, of whose errors of 2 % a median is anything between two, and no floor."""
    points = planted(0.11, 1e-9, 0.02, seed)
    few = {name: values[np.isin(points["size"], [2e4, 1e5, 3e5, 3e6])] for name, values in points.items()}
    order = np.random.default_rng(seed).permutation(len(few["loss"]))
    one, other = fit(few, "multilingual"), fit({name: values[order] for name, values in few.items()}, "multilingual")
    assert list(other.fractions().values()) == pytest.approx(list(one.fractions().values()), abs=2e-3)
    assert other.parameters["alpha"] == pytest.approx(one.parameters["alpha"], abs=1e-4)


@settings(deadline=None, max_examples=3)
@given(st.floats(1e-6, 1e6))
def test_units_do_not_matter(unit: float) -> None:
    points = planted(0.3, 1.0, 1e-3)
    rows = points["weight"] == 1
    one = fit({"size": points["size"][rows], "loss": points["loss"][rows]})
    other = fit({"size": points["size"][rows] * unit, "loss": points["loss"][rows]})
    assert other.parameters["alpha"] == pytest.approx(one.parameters["alpha"], rel=1e-3)
    assert other.parameters["beta"] == pytest.approx(one.parameters["beta"] * unit ** one.parameters["alpha"], rel=1e-2)
    predicted = other.predict({"size": points["size"][rows] * unit})
    np.testing.assert_allclose(predicted, one.predict({"size": points["size"][rows]}), rtol=1e-5)


@settings(deadline=None, max_examples=3)
@given(st.floats(0.1, 0.6), st.floats(0.5, 2), st.integers(0, 99))
def test_a_larger_model_never_hurts(alpha: float, floor: float, seed: int) -> None:
    found = fit(planted(alpha, floor, 1e-3, seed), "multilingual")
    sizes = np.geomspace(1e4, 1e8, 20)
    assert (np.diff(found.predict({"size": sizes, "weight": np.full(20, 0.5)})) <= 0).all()


@settings(deadline=None, max_examples=3)
@given(st.floats(0.1, 0.6), st.floats(0.5, 2))
def test_a_larger_share_never_hurts(alpha: float, floor: float) -> None:
    """Where it did not in what was measured: at measured weights and at those between them, to the fit's accuracy."""
    found = fit(planted(alpha, floor), "multilingual")
    weights = np.union1d(np.geomspace(0.01, 1, 200), WEIGHTS)
    losses = found.predict({"size": np.full(len(weights), 1e5), "weight": weights})
    assert (np.diff(losses) < 1e-4 * (losses[:-1] - floor)).all()


def test_the_power_law_is_that_of_scipys_curve_fit() -> None:
    points = planted(0.25, 1.2, 1e-4, weights=[1.0])
    found = fit(points)
    logs = lambda size, beta, alpha, floor: np.log(beta * size**-alpha + floor)  # noqa: E731
    theta, _ = curve_fit(logs, points["size"], np.log(points["loss"]), p0=(10, 0.3, 1.0), maxfev=20_000)
    assert list(found.parameters.values()) == pytest.approx(list(theta), rel=1e-2)


@settings(deadline=None, max_examples=3)
@given(st.floats(0.15, 0.5), st.floats(1e-6, 1e-4))
def test_the_data_law_is_found_again(exponent: float, constant: float) -> None:
    data = np.geomspace(1e3, 1e6, 9)
    loss = 30 * (1 / data + constant) ** exponent
    found = fit({"data": data, "loss": loss}, "data")
    assert found.parameters["p"] == pytest.approx(exponent, abs=0.01)
    assert found.parameters["C"] == pytest.approx(constant, rel=0.1)


@settings(deadline=None, max_examples=2)
@given(st.floats(0.2, 0.5), st.floats(0.2, 0.6), st.floats(0.2, 0.6), st.floats(1e-3, 1e6))
def test_the_joint_form_is_found_again_in_any_unit(p: float, p_e: float, p_d: float, unit: float) -> None:
    grids = np.meshgrid(np.geomspace(1e3, 1e6, 5), [1e5, 4e5, 2e6], [2e5, 1e6])
    data, encoder, decoder = (grid.ravel() for grid in grids)
    loss = 30 * (1 / data + 0.1 * encoder**-p_e * decoder**-p_d) ** p
    found = fit({"data": data * unit, "encoder": encoder * unit, "decoder": decoder, "loss": loss}, "encoder-decoder")
    assert [found.parameters[name] for name in ("p_e", "p_d", "p")] == pytest.approx([p_e, p_d, p], abs=0.01)
    larger = found.predict({"data": [1e5 * unit], "encoder": [1e7 * unit], "decoder": [1e7]})[0]
    assert larger == pytest.approx(30 * (1e-5 + 0.1 * 1e7 ** -(p_e + p_d)) ** p, rel=0.02)


def test_an_outlier_moves_a_huber_fit_little() -> None:
    points = planted(0.3, 1.0, weights=[1.0])
    points = {name: np.repeat(values, 4) for name, values in points.items()}
    points["loss"] = points["loss"].copy()
    points["loss"][3] *= 1.5
    assert fit(points).parameters["alpha"] == pytest.approx(0.3, abs=0.01)


def test_intervals_hold_the_truth_and_grow_with_noise() -> None:
    hits, widths = 0, []
    for seed in range(5):
        found = fit(planted(0.3, 1.0, 2e-3, seed, weights=[1.0]), resamples=60, seed=seed)
        low, high = found.intervals["alpha"]
        hits, widths = hits + (low <= 0.3 <= high), [*widths, high - low]
    assert hits >= 3
    low, high = fit(planted(0.3, 1.0, 1e-2, weights=[1.0]), resamples=60).intervals["alpha"]
    assert high - low > float(np.median(widths))


def test_aic_prefers_the_law_that_made_the_data() -> None:
    joint = planted(0.3, 1.0, 1e-3)
    assert fit(joint, "multilingual").aicc < fit(joint, "separate").aicc
    other = dict(joint)
    other["loss"] = 20 * joint["size"] ** -(0.15 + 0.3 * joint["weight"]) + 1.0
    assert fit(other, "separate").aicc < fit(other, "multilingual").aicc


def test_the_curve_of_fractions_is_found_again() -> None:
    betas = {f"beta@{weight}": 20 * float(fraction_at(np.array(weight), *SHAPE)) ** -0.3 for weight in WEIGHTS.tolist()}
    found = curve({"alpha": 0.3, **betas})
    assert found is not None
    np.testing.assert_allclose(fraction_at(WEIGHTS, *found), fraction_at(WEIGHTS, *SHAPE), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"loss": [math.nan, 2, 3, 4]}, "row 1 is nan"), ({"size": [-1, 2, 3, 4]}, "positive"),
     ({"size": ["a", 2, 3, 4]}, "no number"), ({"size": [1, 2], "loss": [1, 2]}, "2 different values of size"),
     ({"size": [1, 2, 3]}, "equally long"), ({"loss": None}, "missing"), ({"size": [5, 5, 5, 5]}, "1 different values"),
     ({"size": [1, 2, 2, 1]}, "repeats of a run add none"),
     ({"loss": [[4.0], [3.0], [2.5], [2.2]]}, r"shape \(4, 1\)")],
)  # fmt: skip
def test_bad_points_are_refused(change: dict[str, Any], said: str) -> None:
    points = {"size": [1, 2, 3, 4], "loss": [4.0, 3.0, 2.5, 2.2], **change}
    with pytest.raises(InputError, match=said):
        fit({name: values for name, values in points.items() if values is not None})


@pytest.mark.parametrize(
    ("law", "sizes", "weights", "said"),
    [("multilingual", [1e5], WEIGHTS, "1 different values of size, and it takes 2"),
     ("separate", [1e5, 1e6], WEIGHTS, r"size at weight 0\.05, and it takes 3"),
     ("multilingual", [1e5, 1e6], [1.0], "2 different points for 3 parameters")],
)  # fmt: skip
def test_repeats_are_no_points(law: str, sizes: list[float], weights: Any, said: str) -> None:
    size, weight = (grid.ravel() for grid in np.meshgrid(sizes * 3, weights))
    noise = np.random.default_rng(0).normal(size=len(size))
    with pytest.raises(InputError, match=said):
        fit({"size": size, "weight": weight, "loss": 2 + 20 * size**-0.3 + 0.001 * noise}, law)


def test_the_joint_form_takes_points_that_differ() -> None:
    once = {"data": [1e3, 1e4, 1e5, 1e3], "encoder": [1, 1, 2, 2], "decoder": [1, 2, 1, 1], "loss": [5, 4, 3, 4]}
    with pytest.raises(InputError, match="4 different points for 5 parameters"):
        fit({name: 2 * values for name, values in once.items()}, "encoder-decoder")


@pytest.mark.parametrize("resamples", [-3, 2.5])
def test_bad_resamples_are_refused(resamples: Any) -> None:
    with pytest.raises(InputError, match="resamples="):
        fit(planted(0.3, 1.0, weights=[1.0]), resamples=resamples)


def test_three_weights_below_one_are_too_few_for_a_curve() -> None:
    found = fit(planted(0.3, 1.0, weights=[0.1, 0.3, 0.5]), "multilingual")
    with pytest.raises(InputError, match=r"weight 0\.2: not measured, .* measure more mixtures"):
        found.predict({"size": [1e6], "weight": [0.2]})


def test_a_weight_counts_to_six_digits() -> None:
    """A third is found again, and two weights that would share a name are one."""
    points = planted(0.3, 1.0, weights=[0.1, 1 / 3])
    for law in ("multilingual", "separate"):
        found = fit(points, law)
        said = found.predict({name: points[name] for name in ("size", "weight")})
        np.testing.assert_allclose(said, points["loss"], rtol=1e-3)
    twice = {**points, "weight": points["weight"] + 1e-9 * (np.arange(len(points["weight"])) % 2)}
    assert fit(twice, "multilingual").parameters == pytest.approx(fit(points, "multilingual").parameters)
