"""What a run leaves as it goes: RUN/log.jsonl, TensorBoard, and RUN/loss.png in a page that refreshes itself."""

import html
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from omni.drawing import drawing
from omni.files import write_text
from omni.train.monitor.dashboard import screen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG, PLOT, PAGE = "log.jsonl", "loss.png", "loss.html"
REFRESH = 10                                                            # seconds from one plot and page to the next


class Monitor:
    """Records of one run, written by one process. Records after `step`, which a resumed run repeats, are dropped.

    A record or plot that cannot be written, as on a full disk, is said once and no reason to stop training.
    """

    def __init__(self, run: Path, steps: int, step: int, unigram: dict[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.steps, self.unigram, self.drawn = run, steps, unigram, time.monotonic()
        run.mkdir(parents=True, exist_ok=True)
        self.screen = screen(run.name, steps)
        self.log = self._begin_at(step)
        self.told = False
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def go_back(self, step: int) -> None:
        """Drop what was recorded after a step that the run has returned to."""
        self.log.close()
        self.log = self._begin_at(step)

    def _begin_at(self, step: int) -> TextIO:
        kept = [record for record in read_log(self.run) if record["step"] <= step]
        write_text(self.run / LOG, "".join(json.dumps(record) + "\n" for record in kept))
        self.screen.go_to(step, kept)
        return (self.run / LOG).open("a", encoding="utf-8")

    def train(self, record: dict[str, Any]) -> None:
        """A record of the steps since the last: losses, speed, time by part, use of the machine, mixture."""
        self._write({"kind": "train", **record})

    def valid(self, record: dict[str, Any]) -> None:
        """A validation: step, loss, loss by task and by modality. Redraws the plot and the page if they are old."""
        self._write({"kind": "valid", **record})
        if time.monotonic() - self.drawn >= REFRESH:                    # a draw takes as long as many small steps
            self.draw(done=False)

    def curvature(self, record: dict[str, Any]) -> None:
        """A look at the curvature: sharpness, preconditioned sharpness, threshold, their ratio; or a warning alone."""
        self._write({"kind": "curvature" if "sharpness" in record else "warning", **record})
        for said in ("warning", "note"):
            if said in record:
                print(f"omni: step {record['step']}: {record[said]}", file=sys.stderr)

    def draw(self, done: bool) -> None:
        with self._if_there_is_room():
            records = read_log(self.run)
            draw_losses(records, self.run / PLOT)
            write_text(self.run / PAGE, _page(self.run, records, self.steps, self.unigram, done))
        self.drawn = time.monotonic()

    def close(self, done: bool) -> None:
        self.draw(done)
        self.screen.close()
        for one in (self.board, self.log):
            with self._if_there_is_room():
                one.close()

    def _write(self, record: dict[str, Any]) -> None:
        with self._if_there_is_room():
            self.log.write(json.dumps(record) + "\n")
            self.log.flush()
        with self._if_there_is_room():
            for name, value in _scalars(record, record["kind"]):
                self.board.add_scalar(name, value, record["step"])
        self.screen.show(record)

    @contextmanager
    def _if_there_is_room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self.told:
                print(f"omni: {self.run}: records could not be written ({error}); the run goes on", file=sys.stderr)
            self.told = True


def read_log(run: Path) -> list[dict[str, Any]]:
    """Records of a run so far; a line that a killed run or a full disk left half-written is not one."""
    path = run / LOG
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and {"kind", "step"} <= record.keys():
            records.append(record)
    return records


def warnings(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that have one, whatever else they have."""
    return [record for record in records if "warning" in record]


def draw_losses(records: list[dict[str, Any]], path: Path) -> None:
    """Training and validation loss, validation loss of every task, and the curvature where it was looked at.

    Where there was a warning is a line across.
    """
    train = [record for record in records if record["kind"] == "train"]
    valid = [record for record in records if record["kind"] == "valid"]
    sharp = [record for record in records if record["kind"] == "curvature"]
    with drawing(path, 16.5 if sharp else 11, 4.2) as figure:
        whole, tasks, *more = figure.subplots(1, 3 if sharp else 2)
        if sharp:
            draw_curvature(sharp, more[0])
        for axes in (whole, *more):
            for at, record in enumerate(warnings(records)):
                axes.axvline(record["step"], color="C3", lw=0.8, alpha=0.6, label="_" if at else "warning")
        whole.plot([record["step"] for record in train], [record["loss"] for record in train], lw=1, label="training")
        steps, losses = [record["step"] for record in valid], [record["loss"] for record in valid]
        whole.plot(steps, losses, "o-", ms=3, label="validation")
        for index, task in enumerate(sorted({task for record in valid for task in record["tasks"]})):
            points = [(record["step"], record["tasks"][task]) for record in valid if task in record["tasks"]]
            style = ("-", "--", ":")[index // 10 % 3]                   # ten colours
            tasks.plot(*zip(*points, strict=True), style, lw=1.2, color=f"C{index % 10}", label=task)
        for axes, title in ((whole, "loss"), (tasks, "validation loss of each task")):
            axes.set(xlabel="step", ylabel="nats a token", title=title)
            axes.grid(alpha=0.3)
        for axes in figure.axes:
            if axes.lines:
                axes.legend(fontsize=7, ncols=2 if axes is tasks else 1)


def draw_curvature(records: list[dict[str, Any]], axes: "Axes") -> None:
    """Sharpness, preconditioned sharpness and the threshold of the latter, by step, where a look has them; looks that
    did not converge are circles."""
    for name, style in (("sharpness", ":"), ("preconditioned", "-"), ("threshold", "--")):
        color = "0.4" if name == "threshold" else None
        seen = [record for record in records if name in record]
        steps, values = [record["step"] for record in seen], [record[name] for record in seen]
        (line,) = axes.plot(steps, values, style, lw=1.2, color=color, label=name)
        unsure = [record for record in seen if not record.get("converged", True) and name != "threshold"]
        if unsure:
            places = [record["step"] for record in unsure], [record[name] for record in unsure]
            axes.plot(*places, "o", ms=5, color=line.get_color(), mfc="white", label=f"{name}, at least")
    axes.set(xlabel="step", ylabel="largest eigenvalue", title="curvature", yscale="log")
    axes.grid(alpha=0.3)


def _scalars(record: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            found += _scalars(value, f"{prefix}/{name}")
        elif isinstance(value, int | float) and name != "step":
            found.append((f"{prefix}/{name}", float(value)))
    return found


def _page(run: Path, records: list[dict[str, Any]], steps: int, unigram: dict[str, float], done: bool) -> str:
    valid = next((record for record in reversed(records) if record["kind"] == "valid"), None)
    step = records[-1]["step"] if records else 0
    rows = "".join(
        f"<tr><td>{html.escape(task)}<td>{loss:.3f}<td>{unigram.get(task, float('nan')):.3f}"
        for task, loss in sorted(valid["tasks"].items() if valid else [])
    )
    refresh = "" if done else f'<meta http-equiv="refresh" content="{REFRESH}">'
    return (
        f'<!doctype html><meta charset="utf-8">{refresh}<title>{html.escape(run.name)}</title>'
        "<style>body{font:16px system-ui;margin:2rem auto;max-width:75rem;padding:0 1rem}img{max-width:100%}"
        "td,th{padding:.2rem 1rem;text-align:left;border-bottom:1px solid #8884}</style>"
        f"<h1>{html.escape(run.name)}: step {step} of {steps}</h1>"
        f'<img src="{PLOT}?{step}" alt="losses by step">'
        f"<table><tr><th>task<th>validation loss<th>unigram loss{rows}</table>\n"
    )
