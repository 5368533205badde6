"""`omni train report`: runs side by side on one page, from what each of them has logged."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.page import Page, plot
from omni.train.monitor.curves import Curve, bars, grid
from omni.train.monitor.log import LOG, read_log, warnings

HOUR = 3600.0
SETTLED = 0.1                                                           # of a run's records: its end


@dataclass(frozen=True)
class Run:
    """What a run logged. tokens, hours: of training behind each training record, validations and pauses left out;
    sharp: looks at the curvature; told: warnings"""

    name: str
    recipe: dict[str, Any]
    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    tokens: list[float]
    hours: list[float]
    sharp: list[dict[str, Any]]
    told: list[dict[str, Any]]

    @classmethod
    def load(cls, folder: Path, name: str) -> "Run":
        """Raises InputError for a folder without records."""
        import yaml

        records = read_log(folder)
        train = [record for record in records if record["kind"] == "train"]
        if not train:
            raise InputError(f"{folder}: no run with records in {LOG}; name a folder that `omni train --out` wrote")
        file = folder / "recipe.yaml"
        recipe = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
        valid = [record for record in records if record["kind"] == "valid"]
        tokens, hours, before = [0.0], [0.0], 0
        for record in train:
            seconds = record["seconds_per_step"] * (record["step"] - before)
            tokens.append(tokens[-1] + seconds * record["tokens_per_second"])
            hours.append(hours[-1] + seconds / HOUR)
            before = record["step"]
        sharp = [record for record in records if record["kind"] == "curvature"]
        return cls(name, recipe, train, valid, tokens[1:], hours[1:], sharp, warnings(records))

    def course(self, key: str, inner: str | None = None) -> Curve:
        """A figure of the training records by step; a record without it (of an older omni) is left out."""
        values = [(record["step"], record.get(key) if inner is None else record.get(key, {}).get(inner))
                  for record in self.train]  # fmt: skip
        return Curve(self.name, [(step, value) for step, value in values if value is not None])

    def curvature(self, key: str) -> Curve:
        """A figure of the looks at the curvature, by step; one at a rate of 0 has only the sharpness."""
        seen = [record for record in self.sharp if key in record]
        unsure = [(record["step"], record[key]) for record in seen if not record.get("converged", True)]
        return Curve(self.name, [(record["step"], record[key]) for record in seen], marks=True, hollow=unsure)

    def losses(self, kind: str, name: str) -> Curve:
        """Validation losses of a task or modality by step; training losses where nothing was validated."""
        records = self.valid or self.train
        points = [(record["step"], record[kind][name]) for record in records if name in record[kind]]
        return Curve(self.name, points)

    def against(self, axis: Sequence[float]) -> list[Curve]:
        """The training loss against steps, tokens or hours, and the validation loss as marks at the same place."""
        at = dict(zip((record["step"] for record in self.train), axis, strict=True))
        train = [(x, record["loss"]) for x, record in zip(axis, self.train, strict=True)]
        valid = [(at[record["step"]], record["loss"]) for record in self.valid if record["step"] in at]
        return [Curve(self.name, train, faint=bool(valid)), Curve(self.name, valid, marks=True)]

    @property
    def mixture(self) -> Counter[str]:
        """Rows consumed of each task."""
        rows: Counter[str] = Counter()
        for record in self.train:
            rows.update(record.get("mixture", {}))
        return rows

    def at_the_end(self) -> list[str]:
        """The row of the table: what the run came to."""
        late = self.train[-max(1, round(SETTLED * len(self.train))) :]
        valid = [record["loss"] for record in self.valid]
        mfu = [record["mfu"] for record in self.train if "mfu" in record]
        memory = [max(record["memory"].values()) for record in self.train if "memory" in record]
        return [
            self.name,
            f"{self.train[-1]['step']:,}",
            f"{self.tokens[-1]:,.0f}",
            f"{self.hours[-1]:.2f}",
            f"{statistics.fmean(record['loss'] for record in late):.4f}",
            f"{valid[-1]:.4f}" if valid else "–",
            f"{min(valid):.4f}" if valid else "–",
            f"{statistics.median(record['tokens_per_second'] for record in self.train):,.0f}",
            f"{statistics.median(mfu):.1%}" if mfu else "–",
            f"{max(memory):.2f}" if memory else "–",
        ]


COLUMNS = (
    "run", "steps", "tokens", "hours", "training loss", "validation loss", "the least", "tokens/s", "MFU", "memory, GiB"
)  # fmt: skip
NOTE = (
    "Tokens are useful ones, hours those of training; the training loss is the mean of the last tenth of the records,"
    " speed and MFU are medians, memory is the most of the first process."
)
UNSURE = "Circles are looks whose products did not suffice: the value is at least what is shown."


def write_report(folders: Sequence[Path], out: Path) -> None:
    """Write the page. Raises InputError for a folder that is no run."""
    runs = [Run.load(folder, name) for folder, name in zip(folders, names(folders), strict=True)]
    page = Page(runs[0].name if len(runs) == 1 else "Runs: " + ", ".join(run.name for run in runs))
    page.table(COLUMNS, [run.at_the_end() for run in runs])
    page.paragraph(NOTE, small=True)
    if len(runs) > 1:
        page.heading("How the recipes differ")
        rows = differences([run.recipe for run in runs])
        page.table(["key", *(run.name for run in runs)], rows) if rows else page.paragraph("They do not.")
    with tempfile.TemporaryDirectory(prefix="omni-report-") as scratch:
        _draw(page, runs, Path(scratch) / "plot.png")
    page.write(out)


def _draw(page: Page, runs: Sequence[Run], scratch: Path) -> None:
    def add(heading: str, draw: Callable[[Path], None]) -> None:
        page.heading(heading)
        draw(scratch)
        page.paragraph(plot(scratch, heading))

    loss = {
        "step": [curve for run in runs for curve in run.against([float(record["step"]) for record in run.train])],
        "tokens": [curve for run in runs for curve in run.against(run.tokens)],
        "hours": [curve for run in runs for curve in run.against(run.hours)],
    }
    add("Loss", lambda path: grid({f"loss by {axis}": loss[axis] for axis in loss}, path, x=list(loss)))
    for kind, heading in (("tasks", "Loss of each task"), ("modalities", "Loss of each modality")):
        found = sorted({name for run in runs for record in (run.valid or run.train) for name in record[kind]})
        panels = {name: [run.losses(kind, name) for run in runs] for name in found}
        add(heading, lambda path, panels=panels: grid(panels, path))  # type: ignore[misc]
    vitals = {
        "learning rate": [run.course("lr") for run in runs],
        "gradient norm": [run.course("gradient_norm") for run in runs],
        "tokens/s": [run.course("tokens_per_second") for run in runs],
        "MFU": [run.course("mfu") for run in runs],
        "memory resident, GiB": [run.course("memory", "resident") for run in runs],
        "memory allocated, GiB": [run.course("memory", "allocated") for run in runs],
    }
    shown = {title: curves for title, curves in vitals.items() if any(curve.points for curve in curves)}
    add("Speed, memory and gradients", lambda path: grid(shown, path))
    if any(run.sharp for run in runs):
        looks = {"sharpness": "sharpness", "preconditioned sharpness": "preconditioned", "times the threshold": "ratio"}
        panels = {title: [run.curvature(key) for run in runs] for title, key in looks.items()}
        add("Curvature", lambda path: grid(panels, path))
        if any(curve.hollow for curves in panels.values() for curve in curves):
            page.paragraph(UNSURE, small=True)
    if any(run.told for run in runs):
        page.heading("Warnings")
        rows = [[run.name, f"{one['step']:,}", one["warning"]] for run in runs for one in run.told]
        page.table(("run", "step", "warning"), rows)
    if any(run.mixture for run in runs):
        add("Data consumed", lambda path: bars({run.name: run.mixture for run in runs}, path))


def names(folders: Sequence[Path]) -> list[str]:
    """The shortest endings of the paths that are different."""
    for depth in range(1, max(len(folder.resolve().parts) for folder in folders) + 1):
        found = ["/".join(folder.resolve().parts[-depth:]) for folder in folders]
        if len(set(found)) == len(folders):
            return found
    raise InputError("the same run is named twice; name each once")


def differences(recipes: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Keys whose values are not the same in all recipes: [key, value of each]."""
    flat = [_flatten(recipe, "") for recipe in recipes]
    keys = sorted({key for recipe in flat for key in recipe})
    values = {key: [str(recipe.get(key, "–")) for recipe in flat] for key in keys}
    return [[key, *found] for key, found in values.items() if len(set(found)) > 1]


def _flatten(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
