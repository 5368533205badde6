"""What `omni scaling` refuses: one line, with its cause and its mend."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas
import pytest

from omni.cli import main
from omni.errors import InputError
from omni.train.scaling import fit, fractions, plan
from omni.train.scaling.table import read_points

from .planted import planted


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("loss", "", "line 46, task is: column loss is empty; mend the cell, or leave the row out"),
        ("loss", "nan", "line 46, task is: column loss is nan, not a positive number; mend"),
        ("size", "big", "line 46, task is: column size is big, not a positive number; mend"),
        ("weight", "0", "line 46, task is: column weight is 0, not a positive number; mend"),
        ("task", "", "line 46: its task has no name; fill the cell, or leave the row out"),
        ("note", "", ""),
    ],
)
def test_a_bad_cell_is_named_by_its_line_and_task(
    name: str, row: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the second task the third row, which is line 46 of the file; what no law reads may hold anything."""
    frames = [pandas.DataFrame({**planted(0.3, 1.0), "task": task, "note": "fine"}) for task in ("fr", "is")]
    table = pandas.concat(frames, ignore_index=True).astype(object)
    table.loc[44, name] = row
    table.to_csv(tmp_path / "runs.csv", index=False)
    code = main(["scaling", "fit", str(tmp_path / "runs.csv"), "--resamples", "0", "--out", str(tmp_path / "fit.json")])
    error = capsys.readouterr().err
    assert code == (2 if said else 0) and error.count("\n") == bool(said)
    assert not said or error.startswith(f"omni: {tmp_path / 'runs.csv'}: {said}")


def test_what_the_command_is_told_wrong_is_one_line_with_its_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alphas = {"fr": 0.3, "is": 0.2}
    fits = {task: fit(planted(alpha, 1.0, 1e-4, weights=[0.3, 1.0]), "multilingual") for task, alpha in alphas.items()}
    saved, table, few, bare = (str(tmp_path / name) for name in ("fit.json", "runs.csv", "few.csv", "bare.csv"))
    Path(saved).write_text(json.dumps({task: asdict(found) for task, found in fits.items()}))
    whole = pandas.DataFrame({**planted(0.3, 1.0), "task": "fr"})
    whole.to_csv(table, index=False)
    whole[["size", "loss"]].to_csv(bare, index=False)
    pandas.concat([whole, whole[:1].assign(task="is")]).to_csv(few, index=False)
    sized = ["predict", saved, "--params", "1e7", "--mixture"]
    number = "must be a finite number above 0"
    for words, said in (
        (["predict", saved, "--params", "-1e9", "--mixture", "fr=1"], f"--params -1e+09: {number}"),
        (["plan", saved, "--target", "fr=1.4", "--params", "-.5"], f"--params -0.5: {number}"),
        (["predict", saved, "--data", "-inf"], f"--data -inf: {number}"),
        ([*sized, "fr=1", "is=0"], f"--mixture is=0: {number}; leave out a task that has no share"),
        ([*sized, "fr=nan"], f"--mixture fr=nan: {number}; leave out"),
        ([*sized, "fr=.3", "fr=.4"], "--mixture fr=.4: fr is named twice; give each task one number"),
        ([*sized, "fr=.3", "is=.5"], "is: weight 0.5: not measured"),
        (sized[:-1], "fr: the law multilingual asks for more; say --mixture as well"),
        (sized[:2], "fr: the law multilingual asks for more; say --params and --mixture as well"),
        (["predict", table, "--params", "1"], f"{table}: "),
        (["plan", saved, "--target", "fr=inf"], f"--target fr=inf: {number}, a loss in nats"),
        (["fit", table, "--law", "multilingual,"], "--law multilingual,: a name is missing beside a comma; use"),
        (["fit", table, "--law", "power,none"], "--law power,none: there is no law 'none'; use one or more of power, "),
        (["fit", few, "--law", "power"], "task is: law power: 1 different values of size, and it takes 3"),
        ([*sized, "fr=.3", "--data", "9"], "fr: the law multilingual does not read --data; leave it out"),
        (["fit", bare], f"{bare}: law multilingual needs the column weight; there are size, loss; give it, or --law p"),
        (["fit", bare, "--law", "power,data"], f"{bare}: law data needs the column data; there are size, loss; give"),
    ):
        assert main(["scaling", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"omni: {said}")


any_fit: Any = fit                                                      # as a notebook calls it, without types
any_plan: Any = plan


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda points: any_fit(points, ["power"]), r"law \['power'\]: unknown; use one of power, "),
        (lambda points: any_fit(None), "points: NoneType; must be a data frame or a mapping of columns"),
        (lambda points: fit(points, seed=-1), "seed=-1: must be a whole number of 0 or more"),
        (lambda points: fractions({"a": 0.3}), "effective fraction: needs the parameters alpha and beta@WEIGHT"),
        (lambda points: fit(points, "data"), "law data needs the column data; there are size, weight, loss; give it"),
        (lambda points: fit({**points, "size": [1, 2]}, "data"), "law data needs the column data"),
        (lambda points: fit({**points, "size": [1, 2]}), r"columns must be equally long; rows: size 2, loss \d+$"),
        (lambda points: fit(points).predict({"data": 1}), "law power needs the column size; there are data; give it$"),
        (lambda points: any_plan({}, {}), "fits: none; give that of one task or more, and a target for each"),
        (lambda points: any_plan({"a": fit(points, "multilingual")}, {"a": "1.9"}), "a: a target of '1.9'; must be a"),
        (lambda points: any_plan({"a": fit(points, "multilingual")}, {"a": 9.0}, size="x"), "size 'x': must be a"),
        (lambda points: fit({**points, "weight": 0}, "multilingual"), "weight: row 1 is 0; .*, or leave that row out"),
    ],
)
def test_what_python_is_told_wrong_is_one_line_too(call: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        call(planted(0.3, 1.0, weights=[1.0]))
    assert "\n" not in str(caught.value)


Run = Callable[..., Path]


@pytest.fixture
def run(models: Callable[..., Path], tmp_path: Path) -> Run:
    """(name, recipe, steps of validations) -> a folder of a run whose last record is of step 10."""

    def made(name: str, recipe: dict[str, Any], valid: tuple[int, ...] = (10,)) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model").symlink_to(models("flat"))
        (folder / "recipe.yaml").write_text(json.dumps(recipe))         # JSON is YAML, too
        train = {"kind": "train", "step": 10, "loss": 3.0, "seconds_per_step": 0.5, "tokens_per_second": 100,
                 "mixture": {"fr": 3, "is": 1}, "tasks": {}}  # fmt: skip
        seen = [{"kind": "valid", "step": step, "loss": 3.0, "tasks": {"fr": 2.0, "is": 4.0}} for step in valid]
        (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in (*seen, train)))
        return folder

    return made


TEN, MIX = {"schedule": {"steps": 10}}, {"temperature": 1.0, "weights": {"fr": 3.0}, "max_epochs": 0.0}


@pytest.mark.parametrize(
    ("recipe", "valid", "said"),
    [
        ({"stages": [{"steps": 5, "mixture": MIX}, {"steps": 5, "mixture": {**MIX, "weights": {}}}]}, (5, 10),
         "its stages differ in mixture, so it has no one weight; leave it out"),
        (TEN, (3, 6), "was last validated at step 6, and ends at step 10, .*; train it to its end, or leave it out"),
        ({"schedule": {"steps": 40}}, (5, 10), "was last validated at step 10, and ends at step 40, "),
        ({"stages": [{"steps": 5, "mixture": MIX}, {"steps": 6, "mixture": MIX}]}, (10,), ".* ends at step 11, "),
        (TEN, (), "has validated nothing, so there is no loss to fit"),
        ({"stages": [{"steps": 5, "mixture": MIX}, {"steps": 5, "mixture": MIX}]}, (5, 10), ""),
        (TEN, (5, 10), ""),
    ],
)  # fmt: skip
def test_a_run_that_is_no_point_of_a_law_is_refused(
    recipe: dict[str, Any], valid: tuple[int, ...], said: str, run: Run
) -> None:
    """Stages of one mixture and a run that was validated at its end are points like others."""
    fine, other = run("fine", TEN), run("other", recipe, valid)
    if not said:
        assert read_points([fine, other])["fr"]["weight"] == [0.75, 0.75]
        return
    with pytest.raises(InputError, match=f"^{other}: {said}"):
        read_points([fine, other])


def test_a_run_given_twice_is_refused(run: Run, tmp_path: Path) -> None:
    once, again = run("once", TEN), tmp_path / "again"
    with pytest.raises(InputError, match=f"^{once}: given twice, and a run counts once; leave one out"):
        read_points([once, once])
    again.symlink_to(once)
    with pytest.raises(InputError, match=f"^{again}: given twice, as {once}, too, and a run counts once"):
        read_points([once, again])
