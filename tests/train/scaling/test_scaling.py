"""Fits against planted truth, against scipy, and through the command."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from omni.cli import main
from omni.errors import InputError
from omni.train.scaling import fit, plan
from omni.train.scaling.fraction import curve, fraction_at, fractions

SIZES = np.array([2e4, 5e4, 1e5, 3e5, 1e6, 3e6])
WEIGHTS = np.array([0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
SHAPE = (0.6, 0.8, 1.3)                                                 # c1, c2, c3 of the planted fraction


def planted(alpha: float, floor: float, noise: float = 0.0, seed: int = 0, weights: Any = WEIGHTS) -> dict[str, Any]:
    """Losses by the law: beta_1 = 20 at one parameter."""
    size, weight = (grid.ravel() for grid in np.meshgrid(SIZES, weights))
    share = fraction_at(weight, *SHAPE)
    loss = 20 * (share * size) ** -alpha + floor
    errors = noise * np.random.default_rng(seed).normal(size=len(loss))
    return {"size": size, "weight": weight, "loss": loss * np.exp(errors)}


@settings(deadline=None, max_examples=3)
@given(st.floats(0.12, 0.45), st.floats(0.5, 3), st.integers(0, 99))
def test_planted_truth_is_found_again(alpha: float, floor: float, seed: int) -> None:
    """Issue: alpha within 0.02 and f within 0.03, here with a thousandth of noise."""
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
def test_a_larger_model_and_a_larger_share_never_hurt(alpha: float, floor: float, seed: int) -> None:
    found = fit(planted(alpha, floor, 1e-3, seed), "multilingual")
    sizes = np.geomspace(1e4, 1e8, 20)
    assert (np.diff(found.predict({"size": sizes, "weight": np.full(20, 0.5)})) <= 0).all()
    assert (np.diff(found.predict({"size": np.full(7, 1e5), "weight": WEIGHTS})) < 1e-2).all()


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


@pytest.mark.parametrize(
    ("change", "said"),
    [({"loss": [math.nan, 2, 3, 4]}, "row 1 is nan"), ({"size": [-1, 2, 3, 4]}, "positive"),
     ({"size": ["a", 2, 3, 4]}, "no number"), ({"size": [1, 2], "loss": [1, 2]}, "2 points for 3 parameters"),
     ({"size": [1, 2, 3]}, "equally long"), ({"loss": None}, "missing")],
)  # fmt: skip
def test_bad_points_are_refused(change: dict[str, Any], said: str) -> None:
    points = {"size": [1, 2, 3, 4], "loss": [4.0, 3.0, 2.5, 2.2], **change}
    with pytest.raises(InputError, match=said):
        fit({name: values for name, values in points.items() if values is not None})


def test_the_command_fits_predicts_and_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {"fr": planted(0.3, 1.0, 1e-4), "is": planted(0.2, 1.0, 1e-4)}
    frames = [pandas.DataFrame({**points, "task": task}) for task, points in tasks.items()]
    pandas.concat(frames).to_csv(tmp_path / "runs.csv", index=False)
    saved = str(tmp_path / "fit.json")
    fitting = ["scaling", "fit", str(tmp_path / "runs.csv"), "--resamples", "20", "--out", saved]
    assert main([*fitting, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["fr_alpha"]["value"] == pytest.approx(0.3, abs=0.01)
    assert figures["is_alpha"]["low"] <= figures["is_alpha"]["value"] <= figures["is_alpha"]["high"]
    assert main(["scaling", "predict", saved, "--params", "1e7", "--mixture", "fr=0.6", "is=0.4", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    share = float(fraction_at(np.array(0.6), *SHAPE))
    assert figures["fr_loss"]["value"] == pytest.approx(20 * (share * 1e7) ** -0.3 + 1.0, rel=0.01)
    assert main(["scaling", "plan", saved, "--target", "fr=1.4", "is=2.2"]) == 0
    assert "is" in capsys.readouterr().out
    for wrong in (["predict", saved, "--params", "1e7", "--mixture", "fr=2"],
                  ["predict", saved, "--params", "1e7", "--mixture", "fr=0.7", "is=0.7"],
                  ["predict", saved, "--params", "1e7", "--mixture", "de=0.5"], ["plan", saved, "--target", "de=2"],
                  ["plan", saved, "--target", "fr=x"], ["fit", str(tmp_path / "none.csv")],
                  ["fit", str(tmp_path / "runs.csv"), "--law", "none"]):  # fmt: skip
        assert main(["scaling", *wrong]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    whole = json.loads(Path(saved).read_text())
    for edit in ({"law": "none"}, {"law": "data"}, {"parameters": {"alpha": 0.3}}, {"parameters": {"alpha": "x"}},
                 {"parameters": [1]}, {"more": 1}):  # fmt: skip
        Path(saved).write_text(json.dumps({"fr": {**whole["fr"], **edit}}))
        assert main(["scaling", "predict", saved, "--params", "1e7", "--mixture", "fr=0.6"]) == 2
        assert "fit it again" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("rows", "weights"),
    [((3, 1), (0.75, 0.25)), ((51, 9949), (0.0051, 0.9949)), ((4, 996), (0.004, 0.996)), ((1, 2), (0.33, 0.67))],
)
def test_shares_of_runs_are_rounded_but_never_to_nothing_or_all(
    rows: tuple[int, int], weights: tuple[float, float], models: Callable[..., Path], tmp_path: Path
) -> None:
    from omni.train.scaling.table import read_points

    (tmp_path / "model").symlink_to(models("flat"))
    train = {"kind": "train", "step": 10, "loss": 3.0, "seconds_per_step": 0.5, "tokens_per_second": 100,
             "mixture": dict(zip(("fr", "is"), rows, strict=True)), "tasks": {}}  # fmt: skip
    valid = {"kind": "valid", "step": 10, "loss": 3.0, "tasks": {"fr": 2.0, "is": 4.0}}
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in (train, valid)))
    points = read_points([tmp_path])
    assert (points["fr"]["weight"], points["is"]["weight"]) == ([weights[0]], [weights[1]])


def test_run_folders_give_a_point_a_task(models: Callable[..., Path], tmp_path: Path) -> None:
    """Size without embeddings, the share of the rows consumed, tokens without repeats, and the last validation loss."""
    from omni.model.folder import load_shape
    from omni.train.scaling.table import read_points

    (tmp_path / "model").symlink_to(models("flat"))
    train = {"kind": "train", "step": 10, "loss": 3.0, "seconds_per_step": 0.5, "tokens_per_second": 100,
             "mixture": {"fr": 30, "is": 10}, "epochs": {"fr": 3.0, "is": 0.5}, "tasks": {}}  # fmt: skip
    losses = {5: {"fr": 2.5, "is": 4.0}, 10: {"fr": 2.0, "is": 4.0}}
    valid = [{"kind": "valid", "step": step, "loss": 3.0, "tasks": tasks} for step, tasks in losses.items()]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in (train, *valid)))
    points = read_points([tmp_path])
    blocks = load_shape(models("flat"))[0].parameters()["blocks"]
    assert points["fr"] == {"size": [blocks], "weight": [0.75], "data": [0.75 * 500 / 3], "loss": [2.0]}
    assert points["is"]["weight"] == [0.25] and points["is"]["data"] == [0.25 * 500]
