"""Plans against searches of all mixtures."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni.errors import InputError
from omni.train.scaling import Fit, fit, plan
from omni.train.scaling.fraction import fraction_at

from .planted import SHAPE, SIZES, WEIGHTS, planted


def test_a_plan_reaches_its_losses_with_the_smallest_model() -> None:
    fits = {"fr": fit(planted(0.3, 1.0), "multilingual"), "is": fit(planted(0.25, 1.5), "multilingual")}
    targets = {"fr": 1.6, "is": 2.6}
    made = plan(fits, targets)
    assert sum(made.weights.values()) == pytest.approx(1)
    assert all(made.losses[task] <= target + 1e-6 for task, target in targets.items())
    for share in np.linspace(0.01, 0.99, 99):                           # no mixture of a model 2 % smaller does it
        weights = {"fr": share, "is": 1 - share}
        losses = {task: fits[task].predict({"size": [0.98 * made.size], "weight": [weights[task]]})[0] for task in fits}
        assert any(losses[task] > targets[task] for task in targets)
    with pytest.raises(InputError, match="too small"):
        plan(fits, targets, size=made.size / 2)
    with pytest.raises(InputError, match="irreducible"):
        plan(fits, {"fr": 0.9, "is": 2.6})


def test_a_plan_finds_mixtures_where_more_data_hurts() -> None:
    """A curve that is highest at a half, above 1: with less than everything each task has more than everything."""
    size, weight = (grid.ravel() for grid in np.meshgrid(SIZES, WEIGHTS))
    loss = 20 * (fraction_at(weight, 0.9, 0.3, 0.3) * size) ** -0.3 + 1
    fits = dict.fromkeys("ab", fit({"size": size, "weight": weight, "loss": loss}, "multilingual"))
    half, whole = fits["a"].predict({"size": [1e6, 1e6], "weight": [0.5, 1.0]})
    assert half < whole
    made = plan(fits, dict.fromkeys("ab", (half + whole) / 2), 1e6)
    assert sum(made.weights.values()) == pytest.approx(1) and max(made.losses.values()) <= (half + whole) / 2
    least = plan(fits, dict.fromkeys("ab", half))
    assert least.size == pytest.approx(1e6, rel=1e-3)
    with pytest.raises(InputError, match="too small"):
        plan(fits, dict.fromkeys("ab", half), 0.99e6)


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 2), st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0.3, 2), st.floats(0.3, 2))
@example(c1=2.0, c2=0.5, c3=2.0, first=0.5, second=2.0)                 # one task needs next to no weight
def test_a_plan_finds_what_a_search_of_all_mixtures_finds(
    c1: float, c2: float, c3: float, first: float, second: float
) -> None:
    """No mixture on a fine grid does with less than 99 % of the plan's size."""
    betas = {f"beta@{weight:g}": 20 * float(fraction_at(np.array(weight), c1, c2, c3)) ** -0.3 for weight in WEIGHTS}
    one = Fit("multilingual", {"alpha": 0.3, "L_inf": 1.0, **betas}, {}, None, 0.0, 42, (c1, c2, c3))
    fits, targets = {"a": one, "b": one}, {"a": 1 + first, "b": 1 + second}
    made = plan(fits, targets)
    assert sum(made.weights.values()) == pytest.approx(1)
    # The curve is followed between the points of a grid, so that a target is met but for a ten-thousandth.
    assert all(made.losses[task] <= target * (1 + 1e-4) for task, target in targets.items())
    shares = np.linspace(0.001, 0.999, 999)
    grids = zip((shares, 1 - shares), targets.values(), strict=True)
    sizes = [(20 / (target - 1)) ** (1 / 0.3) / fraction_at(weights, c1, c2, c3) for weights, target in grids]
    assert made.size <= 1.01 * np.maximum(*sizes).min()


def test_a_plan_without_a_curve_takes_measured_mixtures() -> None:
    fits = dict.fromkeys("ab", fit(planted(0.3, 1.0, weights=[0.3, 0.7]), "multilingual"))
    made = plan(fits, {"a": 1.4, "b": 1.5})
    assert made.weights == pytest.approx({"a": 0.7, "b": 0.3})
    with pytest.raises(InputError, match="of a, b, c, only the measured weights were tried"):
        plan(dict.fromkeys("abc", fits["a"]), dict.fromkeys("abc", 1.5))
    with pytest.raises(InputError, match="size -1"):
        plan(fits, {"a": 1.4, "b": 1.5}, -1)


def test_mixtures_without_a_task_alone_are_enough() -> None:
    """As of omni's own recipes: nothing was trained with weight 1, and the plan's weights lie between those seen."""
    alpha, seen, floors = 0.25, [0.03, 0.08, 0.2, 0.45, 0.7], {"a": 1.0, "b": 2.0}
    fits = {task: fit(planted(alpha, floor, 3e-4, 5, seen), "multilingual") for task, floor in floors.items()}
    wanted = planted(alpha, 1.0, weights=[0.05, 0.1, 0.3, 0.6])
    predicted = fits["a"].predict({name: wanted[name] for name in ("size", "weight")})
    assert np.abs(predicted / wanted["loss"] - 1).max() < 0.02
    size, share = 4e6, np.array([0.35, 0.65])
    truth = 20 * (fraction_at(share, *SHAPE) * size) ** -alpha + np.array([1.0, 2.0])
    made = plan(fits, dict(zip("ab", truth, strict=True)))
    assert made.size == pytest.approx(size, rel=0.25)
    assert made.weights["a"] == pytest.approx(0.35, abs=0.05)
