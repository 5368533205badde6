"""What a terminal shows of a run: a quiet panel that is drawn anew at every record, or, in a log, a bar."""

import atexit
import math
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

from rich.bar import Bar as Gauge
from rich.box import ROUNDED, SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from omni.progress import progress

BLOCKS = "▁▂▃▄▅▆▇█"
TREND, OTHERS = 24, 52                                                  # columns of a loss's course, and beside it
QUIET = "bright_black"


class Screen(Protocol):
    """Where a run is shown."""

    def go_to(self, step: int, records: Sequence[dict[str, Any]]) -> None:
        """The run stands at a step, with these records behind it."""

    def show(self, record: dict[str, Any]) -> None:
        """A new record of log.jsonl."""

    def close(self) -> None: ...


def screen(name: str, steps: int) -> Screen:
    """The panel where stderr is a terminal, else a bar."""
    console = Console(stderr=True)
    return Dashboard(name, steps, console) if sys.stderr.isatty() and not console.is_dumb_terminal else Plain(steps)


class Plain:
    """A bar with loss and rate behind it."""

    def __init__(self, steps: int) -> None:
        self.bar = progress(None, "train", total=steps, unit="step")

    def go_to(self, step: int, records: Sequence[dict[str, Any]]) -> None:
        self.bar.update(step - self.bar.n)

    def show(self, record: dict[str, Any]) -> None:
        if record["kind"] == "train":
            shown = f"loss {record['loss']:.3f}, {record['tokens_per_second']:,.0f} tokens/s"
            self.bar.set_postfix_str(shown, refresh=False)
            self.bar.update(record["step"] - self.bar.n)

    def close(self) -> None:
        self.bar.close()


class Dashboard:
    """Losses by task and modality with their course, speed, use of the machine, memory, mixture and time left."""

    def __init__(self, name: str, steps: int, console: Console) -> None:
        self.name, self.steps, self.step = name, steps, 0
        self.train: list[dict[str, Any]] = []
        self.valid: dict[str, Any] = {}
        self.live = Live(self, console=console, auto_refresh=False)
        self.live.start()
        atexit.register(self.live.stop)                                 # gives the cursor back whatever happens

    def go_to(self, step: int, records: Sequence[dict[str, Any]]) -> None:
        self.train = [record for record in records if record["kind"] == "train"]
        self.valid = next((record for record in reversed(records) if record["kind"] == "valid"), {})
        self.step = step
        self.live.refresh()

    def show(self, record: dict[str, Any]) -> None:
        if record["kind"] == "train":
            self.train.append(record)
            self.step = record["step"]
        elif record["kind"] == "valid":
            self.valid = record
        self.live.refresh()

    def close(self) -> None:
        self.live.stop()
        atexit.unregister(self.live.stop)

    # ---- the picture

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [self._progress()]
        if self.train:
            parts += [Text(), self._vitals(self.train[-1]), self._losses()]
        return Panel(Group(*parts), title=f"[bold]{self.name}", title_align="left", box=ROUNDED, border_style=QUIET)

    def _progress(self) -> Table:
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right")
        left = (self.steps - self.step) * self.train[-1]["seconds_per_step"] if self.train else None
        line.add_row(
            f"step [bold]{self.step:,}[/] of {self.steps:,}",
            ProgressBar(total=self.steps, completed=self.step, complete_style="cyan", finished_style="green"),
            f"[bold]{duration(left)}[/] left" if left is not None else "starting",
        )
        return line

    def _vitals(self, record: dict[str, Any]) -> Table:
        """Loss and speed in one line, the machine in the next."""
        grid = Table.grid(expand=True, padding=(0, 2))
        memory = ", ".join(f"{size:.2f} GiB {kind}" for kind, size in record["memory"].items())
        cells = [
            ("loss", f"{record['loss']:.3f}"),
            ("validation", f"{self.valid['loss']:.3f}" if self.valid else "–"),
            ("tokens/s", f"{record['tokens_per_second']:,.0f}"),
            ("MFU", f"{record['mfu']:.1%}"),
            ("gradient", f"{record['gradient_norm']:.3g}"),
            ("rate", f"{record['lr']:.2e}"),
        ]
        for _ in cells:
            grid.add_column(ratio=1, no_wrap=True)
        grid.add_row(*(Text(name, style=QUIET) for name, _ in cells))
        grid.add_row(*(Text(value, style="bold") for _, value in cells))
        both = Table.grid(expand=True)
        both.add_row(grid)
        both.add_row(Text(f"memory {memory}", style=QUIET))
        return both

    def _losses(self) -> Table:
        """A row for every task that has been trained, and below them one for every modality."""
        table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, border_style=QUIET, header_style=QUIET)
        trend = max(6, min(TREND, self.live.console.width - OTHERS))
        table.add_column("", no_wrap=True)
        table.add_column("loss", justify="right", no_wrap=True, min_width=6)
        table.add_column("valid", justify="right", no_wrap=True, min_width=6)
        table.add_column("course", no_wrap=True, min_width=trend)
        table.add_column("rows", justify="right", no_wrap=True)
        table.add_column("share", ratio=1)
        rows: Counter[str] = Counter()
        for record in self.train:
            rows.update(record.get("mixture", {}))                      # a log of an older omni has none
        for kind in ("tasks", "modalities"):
            names = sorted({name for record in self.train for name in record[kind]})
            for at, name in enumerate(names):
                losses = [record[kind][name] for record in self.train if name in record[kind]]
                valid = self.valid.get(kind, {}).get(name)
                cells = [name, f"{losses[-1]:.3f}", "–" if valid is None else f"{valid:.3f}", course(losses, trend)]
                if kind == "tasks":
                    share = rows[name] / max(1, rows.total())
                    table.add_row(
                        *cells, f"{rows[name]:,}", Gauge(1, 0, share, color="cyan"), end_section=at == len(names) - 1
                    )
                else:
                    table.add_row(*cells)
        return table


def course(values: Sequence[float], width: int = TREND) -> Text:
    """A line of blocks: means of `width` equal stretches, the lowest of them the smallest block."""
    values = [value for value in values if math.isfinite(value)]
    count = min(width, len(values))
    cuts = [len(values) * at // count for at in range(count + 1)] if count else []
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return Text("".join(BLOCKS[round((mean - low) * scale)] for mean in means), style="cyan")


def duration(seconds: float) -> str:
    """Two units: `3 d 4 h`, `1 h 05 min`, `42 s`."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60):02d} s"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
