"""What `omni scaling` refuses: one line, with its cause and its mend."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas
import pytest

from omni.cli import main
from omni.train.scaling import fit

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
    saved, table, few = (str(tmp_path / name) for name in ("fit.json", "runs.csv", "few.csv"))
    Path(saved).write_text(json.dumps({task: asdict(found) for task, found in fits.items()}))
    whole = pandas.DataFrame({**planted(0.3, 1.0), "task": "fr"})
    whole.to_csv(table, index=False)
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
        (["plan", saved, "--target", "fr=inf"], f"--target fr=inf: {number}, a loss in nats"),
        (["fit", table, "--law", "multilingual,"], "--law multilingual,: a name is missing beside a comma; use"),
        (["fit", table, "--law", "power,none"], "--law power,none: there is no law 'none'; use one or more of power, "),
        (["fit", few, "--law", "power"], "task is: law power: 1 different values of size, and it takes 3"),
    ):
        assert main(["scaling", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"omni: {said}")
