"""Where the points of a fit come from: a CSV or JSON file, or the run folders of the engine."""

import csv
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError
from omni.files import read_json

if TYPE_CHECKING:
    from omni.train.monitor.report import Run

Points = dict[str, list[Any]]
TASK = "task"


def read_points(paths: Sequence[Path], needed: Collection[str] = ()) -> dict[str, Points]:
    """{task: columns}, of one file or of run folders; "all" where the file has no column `task`.

    needed: columns that hold positive numbers alone
    Raises InputError for what cannot be read, saying in which row.
    """
    if all(path.is_dir() for path in paths):
        _check_once(paths)
        rows = [(str(path), row) for path in paths for row in _of_run(path)]
    elif len(paths) == 1:
        read = _of_json(paths[0]) if paths[0].suffix == ".json" else _of_csv(paths[0])
        rows = [(f"{paths[0]}: {place}", row) for place, row in read]
    else:
        raise InputError("give one CSV or JSON file, or one or more folders of `omni train`, not both")
    if not rows:
        raise InputError(f"{paths[0]}: holds no rows")
    by_task, first = dict[str, Points](), dict[str, str]()
    for place, row in rows:
        task = str(row.get(TASK, "all") or "").strip()                  # a short row of a CSV has None
        if not task:
            raise InputError(f"{place}: its task has no name; fill the cell, or leave the row out")
        for name in needed:
            if name in row:
                _check_number(f"{place}{f', task {task}' if TASK in row else ''}: column {name}", row[name])
        points = by_task.setdefault(task, {name: [] for name in row if name != TASK})
        _check_alike(place, set(row) - {TASK}, first.setdefault(task, place), set(points))
        for name, values in points.items():
            values.append(row[name])
    return by_task


def _check_once(folders: Sequence[Path]) -> None:
    """Raises InputError for a run that is given twice, under one name or two, which would count twice."""
    seen = dict[Path, Path]()
    for folder in folders:
        if before := seen.get(folder.resolve()):
            also = "" if before == folder else f", as {before}, too"
            raise InputError(f"{folder}: given twice{also}, and a run counts once; leave one out")
        seen[folder.resolve()] = folder


def _check_number(where: str, value: Any) -> None:
    """Raises InputError unless a cell holds a number above 0."""
    try:
        good = 0 < float(value) < math.inf
    except (TypeError, ValueError):
        good = False
    if not good:
        empty = value is None or not str(value).strip()
        said = "is empty" if empty else f"is {str(value).strip()}, not a positive number"
        raise InputError(f"{where} {said}; mend the cell, or leave the row out")


def _check_alike(place: str, columns: set[str], first: str, expected: set[str]) -> None:
    """Raises InputError where a point has other columns than the first of its task, saying which and where both are."""
    if columns == expected:
        return
    more, less = columns - expected, expected - columns
    having, lacking, names = (place, first, more) if more else (first, place, less)
    told = " and ".join(sorted(map(str, names)))
    raise InputError(
        f"{place}: has other columns than {first}: {lacking} has no {told}, but {having} has;"
        " fit them apart, or give all the same"
    )


def _of_csv(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each row with its line in the file, by which an editor finds it."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            return [(f"line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from None


def _of_json(path: Path) -> list[tuple[str, dict[str, Any]]]:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: must be a list of objects, one a point, such as {{'size': 1e6, 'loss': 3.1}}")
    return [(f"row {number}", row) for number, row in enumerate(rows, 1)]


def _of_run(folder: Path) -> list[dict[str, Any]]:
    """A point a task: parameters of the blocks, its share of the rows consumed, tokens, last validation loss.

    Tokens count once, however often they were seen: D of Bansal et al. (2022) is the data that there is. The log of an
    older omni does not say how often, and its points have no `data`.
    """
    from omni.model.shape import load_shape
    from omni.train.monitor.report import Run

    run = Run.load(folder, folder.name)
    _check_run(folder, run)
    config, _ = load_shape(folder / "model")
    rows, losses, epochs = run.mixture, run.valid[-1]["tasks"], run.train[-1].get("epochs", {})
    total = sum(rows.values())
    points = []
    for task, loss in losses.items():
        if rows.get(task):
            share = rows[task] / total
            point = {TASK: task, "size": config.parameters()["blocks"], "weight": rounded(share), "loss": loss}
            if task in epochs:
                point["data"] = share * run.tokens[-1] / max(1.0, epochs[task])
            points.append(point)
    return points


def _check_run(folder: Path, run: "Run") -> None:
    """Raises InputError for a run that is no point of a law: without a loss at its end, or of several mixtures."""
    if not run.valid:
        raise InputError(f"{folder}: has validated nothing, so there is no loss to fit")
    stages = run.recipe.get("stages") or []
    if any(stage.get("mixture") != stages[0].get("mixture") for stage in stages):
        raise InputError(f"{folder}: its stages differ in mixture, so it has no one weight; leave it out")
    planned = sum(stage["steps"] for stage in stages) or run.recipe.get("schedule", {}).get("steps", 0)
    seen, end = run.valid[-1]["step"], max(planned, run.train[-1]["step"])
    if seen != end:
        raise InputError(
            f"{folder}: was last validated at step {seen}, and ends at step {end}, so its loss is not that of a whole"
            " run; train it to its end, or leave it out"
        )


def rounded(share: float) -> float:
    """A share to two digits of itself or, above a half, of what it leaves: runs of one mixture consumed it roughly."""
    return float(f"{share:.2g}") if share <= 0.5 else round(1 - float(f"{1 - share:.2g}"), 12)
