"""Runs of a tiny model, compared on one page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from omni.cli import main
from omni.errors import InputError
from omni.train.data.loader import Dataset
from omni.train.engine import Trainer
from omni.train.monitor.log import draw_losses, read_log
from omni.train.monitor.report import Run, differences, names, write_report
from omni.train.recipe import Recipe


def train(recipe: Recipe, run: Path) -> None:
    trainer = Trainer(recipe, run, device="cpu")
    trainer.train()
    trainer.close()


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    shape = {"d_model": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "d_ff": 48}
    values = {
        "data": [str(shards / "train")], "valid": [str(shards / "valid")], "sequence_length": 64,
        "model": {"preset": "mini", **shape}, "schedule": {"steps": 4, "warmup": 1}, "batch": {"rows": 8, "micro": 4},
        "validate": {"every": 2, "rows": 2},
    }  # fmt: skip
    for name, rate in (("one", 1e-3), ("two", 3e-3)):
        train(Recipe.parse({**values, "optimizer": {"lr": rate}}, name), root / name)
    return [root / "one", root / "two"]


def test_a_page_compares_runs(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["train", "report", *map(str, runs), "--out", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 5 and not re.search(r"(src|href)=\"?http", text)
    assert re.search(r"optimizer.lr</td><td>0.001</td><td>0.003", text)
    last = [record for record in read_log(runs[0]) if record["kind"] == "valid"][-1]
    assert f"<td>{last['loss']:.4f}</td>" in text


def test_records_hold_use_of_the_machine_memory_and_mixture(runs: list[Path]) -> None:
    records = [record for record in read_log(runs[0]) if record["kind"] == "train"]
    assert all(0 < record["mfu"] < 1 and 0.01 < record["memory"]["resident"] < 64 for record in records)
    assert sum(sum(record["mixture"].values()) for record in records) == 4 * 8
    run = Run.load(runs[0], "one")
    assert run.mixture.total() == 32 and set(run.mixture) == {"copy", "say"}
    rows = Dataset.load(run.recipe["data"], run.recipe["sequence_length"]).rows
    assert records[-1]["epochs"] == pytest.approx({task: run.mixture[task] / rows[task] for task in run.mixture})
    seconds = sum(record["seconds_per_step"] for record in records)
    assert run.hours[-1] == pytest.approx(seconds / 3600)
    assert run.tokens == sorted(run.tokens) and run.tokens[-1] == pytest.approx(np.rint(run.tokens[-1]))


def test_tensorboard_has_the_same_figures(runs: list[Path]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(runs[0] / "tensorboard"))
    board.Reload()
    records = [record for record in read_log(runs[0]) if record["kind"] == "train"]
    for tag, value in (("mfu", records[-1]["mfu"]), ("memory/resident", records[-1]["memory"]["resident"])):
        assert board.Scalars(f"train/{tag}")[-1].value == pytest.approx(value, rel=1e-5)
    assert {f"train/mixture/{task}" for task in records[-1]["mixture"]} <= set(board.Tags()["scalars"])


def test_a_log_of_an_older_omni_is_drawn(runs: list[Path], tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    lines = (runs[0] / "log.jsonl").read_text().splitlines()
    kept = [re.sub(r', "mfu".*', "}", line) for line in lines]
    (old / "log.jsonl").write_text("\n".join(kept) + "\n")
    write_report([old], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("data:image/png") == 4


def test_what_is_no_run_is_named(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    error = capsys.readouterr().err
    assert "no run with records in log.jsonl" in error and error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(InputError, match="named twice"):
        names([runs[0], runs[0]])


def test_a_recipe_called_report_is_still_a_recipe(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_file.rename(tmp_path / "report.yaml")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "report.yaml", "--print_config"]) == 0
    assert "sequence_length: 64" in capsys.readouterr().out


def test_runs_have_the_shortest_names_that_differ() -> None:
    assert names([Path("/runs/a"), Path("/runs/b")]) == ["a", "b"]
    assert names([Path("/x/a/run"), Path("/x/b/run")]) == ["a/run", "b/run"]


def test_recipes_differ_where_they_differ() -> None:
    one, two = {"zero": 1, "model": {"d": 2, "e": 3}}, {"zero": 1, "model": {"d": 4}, "seed": 1}
    assert differences([one, two]) == [["model.d", "2", "4"], ["model.e", "3", "–"], ["seed", "–", "1"]]


def test_looks_that_did_not_converge_are_marked(runs: list[Path], tmp_path: Path) -> None:
    """In the plot of a run and in a report, whose legend there is a sentence."""
    look = {"kind": "curvature", "sharpness": 2.0, "preconditioned": 3.0, "threshold": 5.0, "ratio": 0.6}
    pictures, pages = [], []
    for sure in (True, False):
        records = [{**look, "step": step, "converged": sure or step == 2} for step in (2, 4)]
        run = tmp_path / f"run-{sure}"
        run.mkdir()
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (run / "log.jsonl").write_text((runs[0] / "log.jsonl").read_text() + lines)
        draw_losses(read_log(run), tmp_path / "loss.png")
        pictures.append((tmp_path / "loss.png").read_bytes())
        write_report([run], tmp_path / "page.html")
        pages.append((tmp_path / "page.html").read_text())
        assert Run.load(run, "run").curvature("ratio").hollow == ([] if sure else [(4, 0.6)])
    assert pictures[0] != pictures[1]
    assert ["Circles are looks" in page for page in pages] == [False, True]
