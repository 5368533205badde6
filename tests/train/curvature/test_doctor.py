"""Trials of recipes that are known to be good or bad, and the search among them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.cli import main
from omni.train.curvature.doctor import (
    MOST,
    Edge,
    Findings,
    highest_stable,
    least_warmup,
    report,
    told,
    trials_of_warmup,
)
from omni.train.curvature.parts import PartOf, spans
from omni.train.curvature.trials import Trial, Trials
from omni.train.data.loader import rows_at
from omni.train.recipe import Recipe

SMALL = ["--set", "model.n_layers=1", "--set", "valid=[]", "--set", "batch.micro=8"]


@pytest.mark.slow
def test_a_rate_that_is_far_too_high_is_found_out(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was found before Ctrl-C, or by the same command, is not looked for again."""
    words = ["train", "doctor", str(recipe_file), "--steps", "10", "--json", "--out", str(tmp_path / "out"), *SMALL]
    words += ["--rows", "8", "--set", "optimizer.lr=20.0", "--set", "optimizer.clip=0"]
    run, tried = Trials.run, list[tuple[float, int]]()

    def interrupted(trials: Trials, lr: float, warmup: int) -> Trial:
        tried.append((lr, warmup))
        if len(tried) == 3:
            raise KeyboardInterrupt
        return run(trials, lr, warmup)

    monkeypatch.setattr(Trials, "run", interrupted)
    assert main(words) == 130
    assert len(json.loads((tmp_path / "out/trials.json").read_text())["trials"]) == 2
    assert main(words) == 0
    assert tried[3] == tried[2] and len(set(tried)) == len(tried) - 1
    lines = capsys.readouterr().out.splitlines()
    figures = {name: figure["value"] for name, figure in json.loads(lines[-1])["figures"].items()}
    assert 0 < figures["highest_stable_lr"] < 20
    assert "ABOVE" in "".join(lines)
    assert figures["ratio blocks.0.attention"] > 0 and figures["spread embedding"] > 1
    assert (tmp_path / "out/losses.png").stat().st_size and str(tmp_path / "out") in lines[-2]
    assert json.loads((tmp_path / "out/findings.json").read_text()) == json.loads(lines[-1])
    monkeypatch.setattr(Trials, "run", None)
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_data_that_are_not_there_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "doctor", "mini", "--rows", "2"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no shards there; make them with `omni data tokenize`" in error


@pytest.mark.slow
def test_of_a_recipe_with_stages_the_first_is_tried(recipe_file: Path, tmp_path: Path) -> None:
    stages = "[{steps: 4, mixture: {weights: {say: 0}}}, {steps: 2}]"
    recipe = Recipe.load(str(recipe_file), {"stages": stages, "model.n_layers": "1", "batch.micro": "8"})
    trainer = Trials(recipe, 10, tmp_path / "run", lambda _: None).trainer
    tasks, _ = rows_at(trainer.data, trainer.stages.order, 0, 40)
    assert {trainer.data.tasks[task] for task in tasks} == {"copy"}
    trainer.close()


def test_parts_cover_every_parameter_once() -> None:
    names = ["embedding.weight", "blocks.0.attention_norm.weight", "blocks.0.attention.out.weight", "norm.weight"]
    assert spans(names) == {"embedding": (0, 1), "blocks.0.attention": (1, 3), "norm": (3, 4)}


def test_a_trial_is_compared_with_no_training_on_the_same_rows() -> None:
    """Rows that are dear in themselves are no failure; a step that makes them half of the mean dearer is."""
    better = Trial(0.1, 0, [1.0, 3.0, 0.9, 2.9, 0.8], [1.0, 3.0])
    assert better.stable and better.gain == pytest.approx(0.15)
    assert not Trial(0.1, 0, [1.0, 3.0, 0.9, 2.9, 1.3], [1.0, 3.0]).stable
    assert Trial(0.1, 0, [1.0, 3.0, 2.1], [1.0, 3.0]).failed == 3
    assert Trial(0.1, 0, [1.0, math.nan], [1.0, 3.0]).failed == 2


@given(st.floats(-8, 8), st.booleans())
def test_the_search_finds_the_edge_to_a_factor_of_two(edge: float, climb: bool) -> None:
    """Wherever within two leaps of the start it lies, in as many trials as the bar counts."""
    tried: list[float] = []

    def stable(rate: float) -> bool:
        tried.append(rate)
        return math.log2(rate) <= edge

    found = highest_stable(stable, 1.0, climb)
    assert len(tried) <= MOST and len(set(tried)) == len(tried)
    if -6 <= edge < 6 and (climb or edge < 0):
        assert found is not None and math.log2(found.stable) <= edge < math.log2(found.stable) + 1
        assert found.failed == 2 * found.stable
    elif edge < -6:
        assert found is None
    else:                                                               # none failed: it is the end of the search
        assert found == Edge(64.0 if climb else 1.0, None)


@given(st.integers(1, 60), st.integers(5, 50))
def test_the_least_warmup_is_that_of_a_search_one_by_one(needed: int, most: int) -> None:
    tried: list[int] = []

    def stable(steps: int) -> bool:
        tried.append(steps)
        return steps >= needed

    choices = sorted({4, 8, 16, 32, most})
    found = least_warmup(stable, most)
    assert found == next((one for one in choices if needed <= one <= most), None)
    assert tried[0] == most and len(tried) == len(set(tried)) <= trials_of_warmup(most)


def test_longer_trials_have_more_warmups_to_try() -> None:
    assert [trials_of_warmup(steps // 2) for steps in (10, 16, 32, 64, 128)] == [2, 2, 3, 3, 4]


def test_an_eigenvalue_that_is_not_certain_is_told_as_a_bound(recipe_file: Path) -> None:
    recipe = Recipe.load(str(recipe_file))
    assert not PartOf("norm", 3.0, 0.0, 5.0, sure=False).converged     # its bound holds, but has not stood
    parts = [PartOf("norm", 3.0, 1.0, 5.0), PartOf("embedding", 2.0, 0.1, 9.0)]
    trials = [Trial(0.1, 5, [1.0, 0.9], [1.0]), Trial(0.2, 0, [1.0, 0.5], [1.0])]
    findings = Findings(trials, Edge(0.1, None), Edge(0.1, 0.2), 0, 5, parts, 0.1)
    assert "what learnt most in so few steps: 0.2 after a warmup of 0\n" in told(recipe, findings)
    assert "at 0.1, in stability thresholds (1 is the edge): norm at least 3, embedding 2\n" in told(recipe, findings)
    short = told(recipe, replace(findings, warmup=None))
    assert "no warmup that was tried is enough; more than 5 warmup steps were not tried (--steps)\n" in short
    assert "is at least 0.1 (no rate that was tried failed)\nwithout a warmup it is 0.1\n" in told(recipe, findings)
    edges = report(recipe, findings).figures
    assert edges["highest_stable_lr"].high is None and edges["highest_stable_lr_without_warmup"].high == 0.2
    figure = report(recipe, findings).figures["ratio norm"]
    assert (figure.low, figure.high) == (3.0, 4.0)


def test_bad_flags_are_refused(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "doctor", str(recipe_file), "--steps", "2"]) == 2
    assert main(["train", "doctor", str(recipe_file), "--rows", "0"]) == 2
    assert main(["train", "doctor", str(recipe_file), "--set", "zero"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
    for words in (["--set", "optimizer.lr=0"], ["--optimizer.lr", "0"]):
        assert main(["train", "doctor", str(recipe_file), *words]) == 2
        assert "optimizer.lr: 0 moves nothing" in capsys.readouterr().err


def test_keys_are_set_as_in_training(recipe_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or by --set, which has the last word."""
    seen: list[Recipe] = []

    def examined(recipe: Recipe, *_: object) -> Findings:
        seen.append(recipe)
        return Findings([], None, None, None, 8, [], None)

    monkeypatch.setattr("omni.train.curvature.doctor.examine", examined)
    words = ["train", "doctor", str(recipe_file), "--out", str(tmp_path), "--seed", "7", "--optimizer.lr", "0.3"]
    assert main([*words, "--set", "optimizer.clip=0.5"]) == 0 and main([*words, "--set", "optimizer.lr=0.2"]) == 0
    first, second = (recipe.optimizer for recipe in seen)
    assert (first.lr, first.clip, second.lr) == (0.3, 0.5, 0.2) and seen[0].seed == 7
