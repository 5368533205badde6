"""Intervals: how often they hold the truth, and that there are none where nothing tells the scatter."""

from typing import Any

import numpy as np
import pandas
import pytest

from omni.cli import main
from omni.train.scaling import fit
from omni.train.scaling.laws import LAWS


def scattered(n: int, noise: float, seed: int) -> dict[str, Any]:
    """Losses of n sizes by the law 20 N^-0.3 + 1, with noise."""
    sizes = np.geomspace(2e4, 3e6, n)
    errors = noise * np.random.default_rng(1000 + seed).normal(size=n)
    return {"size": sizes, "loss": (20 * sizes**-0.3 + 1) * np.exp(errors)}


@pytest.mark.parametrize("n", [5, 8])
def test_intervals_of_few_points_hold_the_truth(n: int) -> None:
    """Of alpha and of a loss far away, in 16 experiments, which 95 % are 15 of."""
    alphas, losses = 0, 0
    far, count = {"size": [1e8]}, 16
    for seed in range(count):
        found = fit(scattered(n, 1e-2, seed), resamples=60, seed=seed)
        low, high = found.intervals["alpha"]
        least, most = found.interval(lambda one: one.predict(far)[0]) or (np.nan, np.nan)
        alphas, losses = alphas + (low <= 0.3 <= high), losses + (least <= 20 * 1e8**-0.3 + 1 <= most)
        assert low <= found.parameters["alpha"] <= high
    assert min(alphas, losses) >= 14


def test_as_many_points_as_parameters_have_no_intervals(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Their residuals are 0 whatever the losses are, which says nothing of the scatter; one point more does."""
    found = fit(scattered(3, 1e-2, 0), resamples=20)
    assert found.intervals == {} and found.draws == () and found.interval(lambda one: one.parameters["alpha"]) is None
    assert found.notes == (
        "no intervals: 3 points for 3 parameters leave no errors to tell the scatter by; measure more runs",
    )
    assert fit(scattered(3, 1e-2, 0)).notes == ()                       # none were asked for
    low, high = fit(scattered(4, 1e-2, 0), resamples=20).intervals["alpha"]
    assert high - low > 0.05
    table, saved = str(tmp_path / "runs.csv"), str(tmp_path / "fit.json")
    pandas.DataFrame(scattered(3, 1e-2, 0)).to_csv(table, index=False)
    for words in (["fit", table, "--law", "power", "--out", saved], ["predict", saved, "--params", "1e9"]):
        assert main(["scaling", *words]) == 0
        said = capsys.readouterr().out
        assert "note: all: no intervals: 3 points for 3 parameters" in said and "[" not in said


def test_losses_that_rise_are_noted_and_the_estimate_lies_in_its_interval() -> None:
    sizes = np.array([1e5, 3e5, 1e6, 3e6, 1e7])
    found = fit({"size": sizes, "loss": [2.1, 2.3, 2.6, 2.8, 2.9]}, resamples=40)
    (note,) = found.notes
    assert note.startswith("the losses do not fall with size, as the law power has it")
    for name, value in found.parameters.items():
        low, high = found.intervals[name]
        assert low <= value <= high and low < high
    weights = np.tile([0.3, 1.0], 5)                                    # a larger size has more of the better weight
    mixed = {"size": np.repeat(sizes, 2), "weight": weights, "loss": np.repeat(9 * sizes**-0.1, 2) / weights}
    assert fit(mixed, "multilingual").notes == ()
    assert "losses do not fall with size" in fit({**mixed, "loss": 9 / mixed["loss"]}, "multilingual").notes[0]


def test_a_floor_of_nothing_does_not_hold_the_draws() -> None:
    """From a floor on its border no slope leads away, so that searches from there alone would all keep it."""
    seed = next(seed for seed in range(99) if fit(scattered(6, 3e-2, seed)).parameters["L_inf"] < 1e-6)
    low, high = fit(scattered(6, 3e-2, seed), resamples=60).intervals["L_inf"]
    assert low < 1e-6 and high > 1


@pytest.mark.parametrize("law", ["power", "multilingual", "separate", "data", "encoder-decoder"])
def test_laws_predict_many_fits_at_once(law: str) -> None:
    """[draws, parameters] give [draws, points], as each draw alone does."""
    random = np.random.default_rng(0)
    columns = {name: random.uniform(0.5, 2, 6) for name in ("size", "data", "encoder", "decoder")}
    columns["weight"] = np.array([0.1, 0.5, 1.0, 0.1, 0.5, 1.0])
    theta = random.uniform(0.2, 1.5, (4, len(LAWS[law].names(columns))))
    found = LAWS[law].predict(theta, columns)
    np.testing.assert_allclose(found, [LAWS[law].predict(one, columns) for one in theta])
    assert found.shape == (4, 6)


def test_intervals_of_many_points_are_as_wide_as_estimates_scatter() -> None:
    """Four standard deviations of the estimates of other draws of the same noise, roughly."""
    alphas = [fit(scattered(40, 1e-3, seed)).parameters["alpha"] for seed in range(10)]
    low, high = fit(scattered(40, 1e-3, 0), resamples=60).intervals["alpha"]
    assert high - low == pytest.approx(4 * np.std(alphas), rel=0.5)
