"""The studies of training dynamics: what their cells measure, and what their judges make of planted results."""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omni.train.multitask import METHODS
from omni.train.recipe import Recipe
from omni.train.studies.dynamics import descent, edge, instability, multitask, remedies, residual
from omni.train.studies.dynamics.descent import descend
from omni.train.studies.dynamics.plots import hull, spectra
from omni.train.studies.dynamics.problems import problem
from omni.train.studies.dynamics.residual import BatchNorm
from omni.train.studies.harness.claims import mean
from omni.train.studies.harness.study import Cell, Result
from omni.train.studies.table import load_study

RATES = {"mgda": 100.0, "scalarization": 400.0}
SETTINGS = {**edge.BASE, "steps": 20, "looks": 2}


def test_a_look_is_that_of_dense_algebra_and_full_batches_ignore_their_seed() -> None:
    small = problem("mlp", 0)
    found = descend(small, SETTINGS, 0)
    again = descend(problem("mlp", 0), SETTINGS, 7)
    assert found == again and found["step"] == [10, 20]
    weight = small.parameters[-1]                                       # a block is a lower bound on the whole
    (first,) = torch.autograd.grad(small.whole(), [weight], create_graph=True)
    block = torch.stack([torch.autograd.grad(one, [weight], retain_graph=True)[0] for one in first])
    assert 0 < float(torch.linalg.eigvalsh(block)[-1]) <= found["sharpness"][-1] * 1.01


def test_planted_ratios_are_judged_by_the_threshold() -> None:
    """Everything at the edge is shown, everything far below is not."""
    for level, verdict in ((1.0, "shown"), (0.5, "not shown")):
        results = [planted(cell, level) for cell in edge.cells(False)]
        claims = {claim.claim: claim.verdict for claim in edge.judge(results)}
        assert all(claims[f"{name} settles at its threshold"] == verdict for name in edge.SETTLES)


def test_the_spectrum_at_the_end_has_the_last_ratio_at_its_top(tmp_path: Path) -> None:
    """Two ways to the same eigenvalue: quadrature from random vectors, and Lanczos from the gradient."""
    found = descend(problem("mlp", 0), SETTINGS, 0, spectrum=True)
    assert max(found["nodes"]) == pytest.approx(found["ratio"][-1], rel=0.02)
    assert sum(found["weights"]) == pytest.approx(1)
    spectra({"all": {"adam": (found["nodes"], found["weights"])}}, tmp_path / "spectra.png")
    assert (tmp_path / "spectra.png").stat().st_size > 1000


def planted(cell: Cell, level: float, first: int = 1) -> Result:
    """first: the look from which the ratio is at its level"""
    looks, every = cell.params["looks"], cell.params["steps"] // cell.params["looks"]
    ratios = [0.3] * first + [level + 0.001 * cell.seed] * (looks - first)
    columns = {"step": [(at + 1) * every for at in range(looks)], "loss": [1.0] * looks, "ratio": ratios}
    same = {"sharpness": [10.0 + 0.01 * cell.seed] * looks, "preconditioned": [5.0 + 0.01 * cell.seed] * looks}
    errors = {"sharpness_error": [0.1] * looks, "ratio_error": [0.001] * looks, "converged": [True] * looks}
    return Result(cell.params, cell.seed, {**columns, **same, **errors, "ended": None}, 1.0)


def test_the_edge_is_reached_sooner_by_what_arrives_sooner(tmp_path: Path) -> None:
    """b2 0.999 four looks after 0.99, cross-entropy never, which counts as its last step; a seed of adam is late."""

    def result(cell: Cell) -> Result:
        first = {"b2 0.999": 7, "cross-entropy": 60}.get(cell.params["setting"], 3 + (cell.seed == 4))
        return planted(cell, 1.2 if cell.params["setting"] == "cnn" and cell.seed == 1 else 1.0, first)

    results = [result(cell) for cell in edge.cells(False)]
    claims = {claim.claim: claim for claim in edge.judge(results)}
    slow = claims["adam arrives sooner with b2 0.99 than with 0.999"]
    assert slow.value == pytest.approx((4 * math.log(8 / 4) + math.log(8 / 5)) / 5) and slow.verdict == "shown"
    never = claims["adam arrives sooner with squared error than cross-entropy"]
    steps = 4 * (2000 // 60), 5 * (2000 // 60), 2000
    assert never.value == pytest.approx((4 * math.log(steps[2] / steps[0]) + math.log(steps[2] / steps[1])) / 5)
    assert claims["adam settles at its threshold"].statistic.endswith("in 5 of 5")
    assert claims["cnn settles at its threshold"].statistic.endswith("in 4 of 5")
    (table,) = edge.tables(results).values()
    rows = {row[0]: row for row in table}
    assert rows["cross-entropy"][3:5] == ("–", "0 of 5") and rows["adam"][3:5] == ("132 (132 to 165)", "5 of 5")
    assert set(edge.plot(results, tmp_path)) and (tmp_path / "edge.png").stat().st_size > 1000


def test_a_look_that_does_not_converge_is_kept_with_its_bound_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends no run; a loss that is gone does, and says so."""
    sure = descend(problem("mlp", 0), SETTINGS, 0)
    monkeypatch.setattr(descent, "MOST", 3)
    found = descend(problem("mlp", 0), SETTINGS, 0)
    assert found["step"] == [10, 20] and found["ended"] is None and found["converged"] == [False, False]
    for key in ("sharpness", "ratio"):
        for value, error, true in zip(found[key], found[f"{key}_error"], sure[key], strict=True):
            assert 0.5 * true < value <= true * 1.01 and error > 0
    diverged = descend(problem("mlp", 0), {**SETTINGS, "optimizer": "gd", "lr": 1e4}, 0)
    assert "loss" in diverged["ended"] or "curvature" in diverged["ended"]
    runs = [Result({**SETTINGS, "setting": "adam"}, 0, one, 1.0) for one in (sure, found, diverged)]
    looks = len(sure["step"]) + len(found["step"]) + len(diverged["step"])
    assert edge.counts(runs) == {"unconverged looks": (2, looks), "runs that ended early": (1, 3)}
    assert edge.unconverged(runs[:1]) == "0" and edge.unconverged(runs[:2]).startswith("2 (within ")
    settings: dict[str, Any] = {"remedies": ["clipping"], "steps": 2, "lr": 0.001}
    values = instability.run(settings, 0, Path())
    assert set(values["unconverged"]) == {"0", "2"} and all(values["sharpness"].values())
    assert instability.counts([Result(settings, 0, values, 1.0)])["unconverged looks"] == (2, 2)


def test_instability_judges_highest_rates() -> None:
    def result(cell: Cell) -> Result:
        remedies = cell.params["remedies"]
        limit = {(): 0.02, ("warmup",): 0.16, ("clipping",): 0.01}.get(tuple(remedies), 0.16)
        loss = 0.01 if cell.params["lr"] <= limit else None
        sharpness = {"0": 500.0 + cell.seed, "100": 2 / cell.params["lr"] * (1 + 0.01 * cell.seed)}
        return Result(cell.params, cell.seed, {"loss": loss, "sharpness": sharpness}, 1.0)

    claims = {claim.claim: claim for claim in instability.judge([result(cell) for cell in instability.cells(False)])}
    assert claims["warmup lets a higher rate train"].value == pytest.approx(3)
    assert claims["clipping lets a higher rate train"].value == pytest.approx(-1)
    assert claims["warmup allows as much as fixup"].value == pytest.approx(0)
    assert claims["rate x sharpness is 2 or less when the warmup ends"].verdict == "shown"
    falls = claims["the sharpness falls at least fivefold during warmup"]
    assert falls.value == pytest.approx(math.log2(500 / 12.5), rel=0.05)
    lost = claims["without a remedy, runs diverge at the highest rates at which one trains"]
    assert lost.value == pytest.approx(7 / 8) and lost.verdict == "shown"  # all but clipping, which trains up to 0.01


def test_a_run_whose_initialiser_diverges_ends_as_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """MetaInit comes to numbers that are none, as some seeds do on some machines; that must not end the study."""
    monkeypatch.setattr(residual, "metainit", partial(residual.metainit, lr=1e9))
    monkeypatch.setattr(residual, "_by_metainit", residual._by_metainit.__wrapped__)  # none from before, none kept
    found = instability.run({"remedies": ["batch norm", "metainit"], "lr": 0.01, "steps": 1, "trained": 0.1}, 2, Path())
    assert found["loss"] is None and not found["sharpness"]


def test_the_way_of_the_sharpness_is_shown_at_the_highest_rate_that_trains() -> None:
    """Of the seeds that train: no remedy never does, and clipping in all seeds but one."""

    def result(cell: Cell) -> Result:
        rate, alone = cell.params["lr"], cell.params["remedies"] == ["clipping"]
        trains = rate <= 0.04 and (cell.seed > 0 if alone else bool(cell.params["remedies"]))
        way = {"0": 500.0, "10": 400.0 + cell.seed, "25": None, "50": 3 / rate, "100": 2 / rate, "400": 1 / rate}
        return Result(cell.params, cell.seed, {"loss": 0.01 if trains else None, "sharpness": way}, 1.0)

    (table,) = instability.tables([result(cell) for cell in instability.cells(False)]).values()
    rows = {remedy: row for remedy, *row in table}
    steps = [f"step {step}" for step in (0, 10, 25, 50, 100, 400)]
    assert rows["remedy"] == ["seeds", "rate", "runs without it that diverge there", *steps, "looks unconverged"]
    assert rows["none"] == ["0", "–", "0 of 0", *["–"] * 6, "0"] and len(rows) == 1 + len(instability.SINGLE)
    assert rows["clipping"] == ["4", "0.04", "4 of 4", "500", "402", "–", "75", "50", "25", "0"]


def test_a_cell_of_instability_diverges_or_trains() -> None:
    settings: dict[str, Any] = {"remedies": [], "steps": 60}
    assert instability.run({**settings, "lr": 1.0}, 0, Path())["loss"] is None
    assert instability.run({**settings, "lr": 0.005}, 0, Path())["loss"] < 1.5


def test_batch_norm_is_that_of_torch() -> None:
    x, theirs = torch.randn(64, 8), torch.nn.BatchNorm1d(8)
    assert torch.allclose(BatchNorm(8)(x), theirs(x), atol=1e-5)


def test_every_combination_runs_and_is_judged(tmp_path: Path) -> None:
    """Warmup doubles the rate twice alone and once with others; everything else doubles it once."""

    def result(cell: Cell) -> Result:
        remedies = cell.params["remedies"]
        doublings = sum(1 if one != "warmup" or len(remedies) > 1 else 2 for one in remedies)
        loss = 0.01 if cell.params["lr"] <= 0.01 * 4**doublings else None
        sharpness = {"0": 500.0 + cell.seed, "100": 2 / cell.params["lr"] * (1 + 0.01 * cell.seed)}
        return Result(cell.params, cell.seed, {"loss": loss, "sharpness": sharpness}, 1.0)

    for quick, count in ((True, 16), (False, 64)):
        chosen = remedies.combinations(quick)
        assert len(set(chosen)) == count
        results = [result(cell) for cell in instability.cells(quick)]
        ran = {tuple(one.params["remedies"]) for one in results}
        assert set(chosen) <= ran
        claims = {claim.claim: claim for claim in remedies.together(results)}
        assert claims["warmup adds less where something else helps"].value > 0
        assert claims["clipping lets a higher rate train, over all choices of the others"].value > 0
        assert set(instability.plot(results, tmp_path)) and (tmp_path / "together.png").stat().st_size > 1000
        assert (tmp_path / "paths.png").stat().st_size > 1000
    settings: dict[str, Any] = {"remedies": ["clipping", "batch norm", "metainit"], "steps": 3, "lr": 0.01}
    assert instability.run(settings, 0, Path())["sharpness"] == {}


def test_the_gain_over_a_front() -> None:
    """Of the front (0, 2), (1, 1), (2, 0): a point on it gains nothing, one below it its distance."""
    front = [[[0.0, 2.0]], [[1.0, 1.0]], [[2.0, 0.0]]]
    assert multitask.gain(front, [[1.0, 1.0]], [0]) == pytest.approx(0, abs=1e-9)
    assert multitask.gain(front, [[0.8, 0.8]], [0]) == pytest.approx(0.2)
    assert multitask.gain(front, [[1.5, 1.0]], [0]) <= 0


def test_the_interval_of_a_gain_is_students() -> None:
    """Exactly, where the gain is the mean of what each seed gains; and it holds a planted gain as often as it says."""
    front, losses = [[[1.0, 1.0], [1.2, 1.2], [0.9, 0.9]]], [[0.5, 0.5], [0.9, 0.9], [0.6, 0.6]]
    found, expected = multitask.estimate(partial(multitask.gain, front, losses), 3, 0.1), mean([5.0, 3.0, 3.0])
    for one, other in ((found.value, expected.value), (found.low, expected.low), (found.high, expected.high)):
        assert one == pytest.approx(other)
    random, held = np.random.default_rng(0), 0
    for _ in range(400):                                                # five below the front, from five seeds
        drawn = [(1 + 0.1 * random.standard_normal((5, 2)) + at).tolist() for at in ([-1, 1], [-0.5, -0.5], [1, -1])]
        of = multitask.estimate(partial(multitask.gain, [drawn[0], drawn[2]], drawn[1]), 5, 0.1)
        held += of.low <= 5 <= of.high
    assert held > 0.92 * 400


def test_the_spread_over_rates_is_that_of_means_in_deviations_at_the_best_rate() -> None:
    """By hand: means 1, 2 and 5 of the rates, of which the first is the best and has a deviation of 0.1; seeds whose
    order over the rates differs would have larger spreads of their own."""
    offsets = {0.001: (-0.1, 0.0, 0.1), 0.01: (0.5, 0.0, -0.5), 0.1: (2.0, -1.0, -1.0)}
    results = []
    for rate, level in zip(offsets, (1.0, 2.0, 5.0), strict=True):
        for way in ({"method": "scalarization", "weight": 0.5}, {"method": "scalarization", "weight": 0.1}):
            for seed, offset in enumerate(offsets[rate]):
                loss = level + offset * (1 if way["weight"] == 0.5 else 3)
                values = {"valid": 2 * level, "test": [loss, loss], "end": [loss, loss], "per_second": 1.0}
                results.append(Result({**way, "lr": rate, "steps": 1}, seed, values, 1.0))
    claims = {claim.claim: claim for claim in multitask.judge(results)}
    assert claims["the learning rate matters more than the seed"].value == pytest.approx((5 - 1) / 0.1)


def test_the_drawn_front_is_that_from_which_a_gain_is_counted() -> None:
    points = [(2.0, 0.0), (1.5, 1.0), (0.0, 2.0), (3.0, 0.5), (0.5, 0.8), (0.0, 3.0)]
    line = hull(points)
    assert line == [(0.0, 2.0), (0.5, 0.8), (2.0, 0.0)]
    assert hull([(1.0, 1.0), (2.0, 2.0)]) == [(1.0, 1.0)]               # one sum may be the whole front
    whole, drawn = ([[list(point)] for point in some] for some in (points, line))
    for mine in ([0.4, 0.9], [1.0, 0.2], [3.0, 3.0]):
        assert multitask.gain(whole, [mine], [0]) == multitask.gain(drawn, [mine], [0])


@pytest.mark.parametrize("folder", ["dynamics/recipes/multitask", "translation/recipes/multitask-translation"])
def test_a_recipe_at_the_papers_scale_takes_every_method_and_weights(folder: str) -> None:
    path = Path(multitask.__file__).parents[1] / f"{folder}.yaml"
    tasks = list(Recipe.load(path).mixture.weights)
    for name in METHODS:
        assert Recipe.load(path, {"multitask.method": name}).multitask.method == name
    weighed = Recipe.load(path, {"multitask.weights": f"{{{tasks[0]}: 0.9, {tasks[1]}: 0.1}}"}).multitask
    assert weighed.weights == {tasks[0]: 0.9, tasks[1]: 0.1}


def test_every_method_of_the_library_is_in_the_full_study() -> None:
    assert {cell.params["method"] for cell in multitask.cells(False)} == set(METHODS)
    found = multitask.run({"method": "nash-mtl", "weight": None, "lr": 0.003, "steps": 20}, 0, Path())
    assert sum(found["test"]) < 2 * math.log(10)


def test_a_cell_of_multitask_learns_both_and_splits_are_apart() -> None:
    found = multitask.run({"method": "pcgrad", "weight": None, "lr": 0.003, "steps": 60}, 0, Path())
    assert max(found["test"]) < math.log(10) and found["per_second"] > 0
    starts = [span[:2] for span in multitask.SPLITS.values()]
    assert all(stop <= start for (_, stop), (start, _) in pairwise(starts))


def test_tables_of_multitask_tell_the_cost_and_what_a_sparse_grid_would_say() -> None:
    """By hand: sums at 0.3 at their best rate and at 0.9 at the other, MGDA at 0.35, seeds 0.1 apart."""
    results = []
    for way, weight, losses in (("scalarization", 0.5, (0.3, 0.9)), ("mgda", None, (0.35, 2.0))):
        for rate, loss in zip((0.001, 0.01), losses, strict=True):
            for seed, offset in enumerate((-0.1, 0.0, 0.1)):
                test = [loss + offset] * 2
                values = {"valid": 2 * loss, "test": test, "end": test, "per_second": RATES[way]}
                results.append(Result({"method": way, "weight": weight, "lr": rate, "steps": 1}, seed, values, 1.0))
    costs, sparse = multitask.tables(results).values()
    assert [row[0] for row in costs[1:]] == ["scalarization", "mgda"] and costs[2][2] == "4.00"
    assert sparse[1:] == [("0.001", "0 of 1", "-0.5", "-0.5"), ("0.01", "1 of 1", "5.5", "5.5")]


@pytest.mark.parametrize("name", ["edge-of-stability", "curvature", "multitask"])
def test_quick_cells_are_fewer_and_unlike(name: str) -> None:
    study = load_study(name)
    quick, full = list(study.cells(True)), list(study.cells(False))
    assert 0 < len(quick) < len(full)
    assert len({cell.key for cell in full}) == len(full)
