"""Where the points of a fit come from: a CSV or JSON file, or the run folders of the engine."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.files import read_json

Points = dict[str, list[Any]]
TASK = "task"


def read_points(paths: Sequence[Path]) -> dict[str, Points]:
    """{task: columns}, of one file or of run folders; "all" where the file has no column `task`.

    Raises InputError for what cannot be read.
    """
    if all(path.is_dir() for path in paths):
        rows = [(str(path), row) for path in paths for row in _of_run(path)]
    elif len(paths) == 1:
        read = _of_json(paths[0]) if paths[0].suffix == ".json" else _of_csv(paths[0])
        rows = [(f"{paths[0]}: row {number}", row) for number, row in enumerate(read, 1)]
    else:
        raise InputError("give one CSV or JSON file, or one or more folders of `omni train`, not both")
    if not rows:
        raise InputError(f"{paths[0]}: holds no rows")
    by_task, first = dict[str, Points](), dict[str, str]()
    for place, row in rows:
        task = str(row.get(TASK, "all"))
        points = by_task.setdefault(task, {name: [] for name in row if name != TASK})
        _check_alike(place, set(row) - {TASK}, first.setdefault(task, place), set(points))
        for name, values in points.items():
            values.append(row[name])
    return by_task


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


def _of_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from None


def _of_json(path: Path) -> list[dict[str, Any]]:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: must be a list of objects, one a point, such as {{'size': 1e6, 'loss': 3.1}}")
    return rows


def _of_run(folder: Path) -> list[dict[str, Any]]:
    """A point a task: parameters of the blocks, its share of the rows consumed, tokens, last validation loss.

    Tokens count once, however often they were seen: D of Bansal et al. (2022) is the data that there is. The log of an
    older omni does not say how often, and its points have no `data`.
    """
    from omni.model.shape import load_shape
    from omni.train.monitor.report import Run

    run = Run.load(folder, folder.name)
    if not run.valid:
        raise InputError(f"{folder}: has validated nothing, so there is no loss to fit")
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


def rounded(share: float) -> float:
    """A share to two digits of itself or, above a half, of what it leaves: runs of one mixture consumed it roughly."""
    return float(f"{share:.2g}") if share <= 0.5 else round(1 - float(f"{1 - share:.2g}"), 12)
