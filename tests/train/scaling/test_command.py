"""`omni scaling`, and where its points come from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from omni.cli import main
from omni.train.scaling import fit, fractions
from omni.train.scaling.fraction import fraction_at

from .planted import SHAPE, WEIGHTS, planted


def strict(line: str) -> Any:
    """JSON as other languages read it: without NaN and Infinity."""

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(line, parse_constant=refused)


def test_few_points_are_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four points and three parameters leave none for AICc's correction."""
    points = {name: values[:4] for name, values in planted(0.3, 1.0, 1e-3, weights=[1.0]).items()}
    pandas.DataFrame(points).to_csv(tmp_path / "runs.csv", index=False)
    words = ["scaling", "fit", str(tmp_path / "runs.csv"), "--law", "power", "--resamples", "5"]
    assert main([*words, "--out", str(tmp_path / "fit.json"), "--json"]) == 0
    said = strict(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert said["all_aicc"]["value"] is None and said["all_aic"]["value"] < 0
    assert said["all_alpha"]["low"] <= said["all_alpha"]["value"]
    assert strict((tmp_path / "fit.json").read_text())["all"]["aicc"] is None


def test_the_command_tells_fractions_and_how_sure_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The effective fraction of a task, its curve, laws compared, and intervals of what is predicted and planned."""
    frames = [pandas.DataFrame({**planted(alpha, 1.0, 1e-3, seed), "task": task})
              for seed, (task, alpha) in enumerate({"fr": 0.3, "is": 0.25}.items())]  # fmt: skip
    pandas.concat(frames).to_csv(tmp_path / "runs.csv", index=False)
    saved = str(tmp_path / "fit.json")
    words = ["scaling", "fit", str(tmp_path / "runs.csv"), "--law", "multilingual,separate", "--resamples", "30"]

    def told(*words: str) -> dict[str, Any]:
        assert main(["scaling", *words, "--json"]) == 0
        return strict(capsys.readouterr().out.splitlines()[-1])["figures"]

    fitted = told(*words[1:], "--out", saved)
    for weight in WEIGHTS[:-1]:
        figure = fitted[f"fr_f@{weight:g}"]
        assert figure["value"] == pytest.approx(float(fraction_at(weight, *SHAPE)), abs=0.03)
        assert figure["low"] < figure["value"] < figure["high"]
    assert fitted["fr_c1"]["low"] < fitted["fr_c1"]["value"] == pytest.approx(SHAPE[0], abs=0.15)
    assert fitted["is_delta_aicc@multilingual"]["value"] == 0 < fitted["is_delta_aicc@separate"]["value"]
    _check_criteria(fitted)
    assert fractions(fit(planted(0.3, 1.0), "multilingual").parameters)[1.0] == 1

    predicting = ("predict", saved, "--params", "1e7", "--mixture", "fr=0.6", "is=0.4")
    planning = ("plan", saved, "--target", "fr=1.4", "is=1.6")
    near, planned = told(*predicting)["fr_loss"], told(*planning)
    assert near["low"] < 20 * (float(fraction_at(np.array(0.6), *SHAPE)) * 1e7) ** -0.3 + 1 < near["high"]
    for name in ("params", "fr_weight", "fr_loss", "is_loss"):
        assert planned[name]["low"] < planned[name]["value"] < planned[name]["high"]
    assert planned["reached"]["value"] == 1
    given = told(*planning, "--params", str(planned["params"]["value"]))
    assert 0.1 < given["reached"]["value"] < 0.9 and given["params"]["low"] is None  # as sure as a coin
    assert told("plan", saved, "--target", "fr=1.003", "is=3")["reached"]["value"] < 1

    whole = json.loads(Path(saved).read_text())                         # as an omni without draws wrote it
    bare = {task: {name: value for name, value in one.items() if name != "draws"} for task, one in whole.items()}
    Path(saved).write_text(json.dumps(bare))
    assert told(*predicting)["fr_loss"] == {**near, "low": None, "high": None}
    assert "reached" not in told(*planning)
    Path(saved).write_text(json.dumps({"fr": {**whole["fr"], "draws": [[1.0]]}}))
    assert main(["scaling", *predicting]) == 2
    assert "fit it again" in capsys.readouterr().err


def _check_criteria(fitted: dict[str, Any]) -> None:
    """42 losses: 9 parameters of the joint law and the scatter, 21 of the separate one, and the correction for that."""
    n, joint, apart = 42, 10, 22
    for task in ("fr", "is"):
        gaps = {name: fitted[f"{task}_delta_{name}@separate"]["value"] for name in ("aic", "aicc")}
        assert fitted[f"{task}_aicc"]["value"] - fitted[f"{task}_aic"]["value"] == pytest.approx(_more(n, joint))
        assert gaps["aicc"] - gaps["aic"] == pytest.approx(_more(n, apart) - _more(n, joint))
        assert fitted[f"{task}_delta_aic@multilingual"]["value"] == 0


def _more(n: int, k: int) -> float:
    return 2 * k * (k + 1) / (n - k - 1)


def test_with_few_points_the_correction_alone_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Losses with an exponent for each weight: AIC sees it, AICc says that so few points cannot carry it."""
    frames = []
    for weight, alpha in ((0.3, 0.2), (1.0, 0.35)):
        points = planted(alpha, 1.0, 1e-4, weights=[weight])
        frames.append(pandas.DataFrame({name: values[:4] for name, values in points.items()}))
    pandas.concat(frames).to_csv(tmp_path / "runs.csv", index=False)
    words = [str(tmp_path / "runs.csv"), "--law", "multilingual,separate", "--resamples", "0"]
    assert main(["scaling", "fit", *words, "--out", str(tmp_path / "fit.json"), "--json"]) == 0
    said = strict(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert said["all_delta_aic@multilingual"]["value"] > 0 == said["all_delta_aic@separate"]["value"]
    assert said["all_delta_aicc@multilingual"]["value"] == 0 and said["all_delta_aicc@separate"]["value"] is None


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


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_a_run_of_other_columns_is_the_one_that_is_named(
    order: tuple[str, str], models: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log of an older omni does not say how often the data were seen, so that it has no column `data`."""
    for name in order:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").symlink_to(models("flat"))
        train = {"kind": "train", "step": 10, "loss": 3.0, "seconds_per_step": 0.5, "tokens_per_second": 100,
                 "mixture": {"fr": 3}, "tasks": {}, **({"epochs": {"fr": 1.0}} if name == "new" else {})}  # fmt: skip
        records = (train, {"kind": "valid", "step": 10, "loss": 3.0, "tasks": {"fr": 2.0}})
        (tmp_path / name / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    folders = [str(tmp_path / name) for name in order]
    assert main(["scaling", "fit", *folders]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folders[1]}: has other columns than {folders[0]}: " in line
    assert f"{tmp_path / 'old'} has no data, but {tmp_path / 'new'} has" in line
    (tmp_path / "rows.json").write_text(json.dumps([{"size": 1, "loss": 2}, {"size": 1}]))
    assert main(["scaling", "fit", str(tmp_path / "rows.json")]) == 2
    assert "rows.json: row 2: has other columns than" in capsys.readouterr().err


def test_run_folders_give_a_point_a_task(models: Callable[..., Path], tmp_path: Path) -> None:
    """Size without embeddings, the share of the rows consumed, tokens without repeats, and the last validation loss."""
    from omni.model.shape import load_shape
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


def test_runs_of_the_engine_are_fitted_and_predicted(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three sizes trained for a moment on one task: their weight is 1, and three points leave no scatter."""
    alone = ["--mixture.temperature", ".inf", "--mixture.weights", "{copy: 1, say: 0}"]
    runs, saved = [str(tmp_path / name) for name in "abc"], str(tmp_path / "fit.json")
    for layers, run in enumerate(runs, 1):
        short = ["--model.n_layers", str(layers), "--schedule.steps", "3", "--zero", "0"]
        assert main(["train", str(recipe_file), "--out", run, *short, *alone]) == 0
    capsys.readouterr()
    assert main(["scaling", "fit", *runs, "--out", saved, "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    figures = strict(last)["figures"]
    assert {"copy_alpha", "copy_L_inf", "copy_beta@1"} < set(figures) and figures["copy_alpha"]["n"] == 3
    assert any(line.startswith("note: copy: no intervals: 3 points for 3 parameters") for line in lines)
    assert main(["scaling", "predict", saved, "--params", "1e6", "--mixture", "copy=1", "--json"]) == 0
    loss = strict(capsys.readouterr().out.splitlines()[-1])["figures"]["copy_loss"]
    assert figures["copy_L_inf"]["value"] <= loss["value"] < 6 and loss["low"] is None


def test_a_file_without_a_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fit.json").write_text("{}")
    assert main(["scaling", "predict", str(tmp_path / "fit.json"), "--params", "1e9"]) == 2
    assert "fit.json: not what `omni scaling fit` writes; fit it again" in capsys.readouterr().err
