"""Plots of runs, each run in its own colour throughout a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omni.drawing import drawing

WIDTH, HEIGHT, ACROSS = 12.0, 2.7, 3                                    # inches, and panels in a row


@dataclass(frozen=True)
class Curve:
    """Points (x, y) of a run. faint: drawn thin, behind the others; marks: drawn as dots on a line; hollow: points,
    among the others, that are not certain: circles."""

    run: str
    points: Sequence[tuple[float, float]]
    faint: bool = False
    marks: bool = False
    hollow: Sequence[tuple[float, float]] = ()


def grid(panels: Mapping[str, Sequence[Curve]], path: Path, x: Sequence[str] | None = None) -> None:
    """One panel a title, three in a row, with one legend for all of them. x: what is to the right in each (steps)."""
    runs = list(dict.fromkeys(curve.run for curves in panels.values() for curve in curves))
    across, rows = min(ACROSS, len(panels)), math.ceil(len(panels) / ACROSS)
    with drawing(path, WIDTH, HEIGHT * rows + 0.3) as figure:
        axes = figure.subplots(rows, across, squeeze=False).flatten()
        for at, (title, curves) in enumerate(panels.items()):
            for curve in curves:
                color = f"C{runs.index(curve.run) % 10}"
                if curve.points:
                    style = "o-" if curve.marks else "-"
                    axes[at].plot(
                        *zip(*curve.points, strict=True), style, ms=3, lw=0.8 if curve.faint else 1.3,
                        color=color, alpha=0.45 if curve.faint else 1,
                    )  # fmt: skip
                if curve.hollow:
                    axes[at].plot(*zip(*curve.hollow, strict=True), "o", ms=5, color=color, mfc="white")
            axes[at].set_title(title, fontsize=10)
            axes[at].set_xlabel(x[at] if x else "step", fontsize=8)
            axes[at].tick_params(labelsize=8)
            axes[at].grid(alpha=0.25)
            axes[at].spines[["top", "right"]].set_visible(False)
        for empty in axes[len(panels) :]:
            empty.set_visible(False)
        if len(runs) > 1:
            handles = [axes[0].plot([], [], color=f"C{at % 10}", label=run)[0] for at, run in enumerate(runs)]
            across = min(6, len(runs))
            figure.legend(handles=handles, loc="outside lower center", ncols=across, fontsize=8, frameon=False)


def bars(shares: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """A bar a run, divided by task: the share of its rows that each task gave."""
    tasks = sorted({task for rows in shares.values() for task in rows})
    with drawing(path, WIDTH, 1.2 + 0.4 * len(shares)) as figure:
        axes = figure.subplots()
        left = dict.fromkeys(shares, 0.0)
        for at, task in enumerate(tasks):
            widths = [rows.get(task, 0) / max(1, sum(rows.values())) for rows in shares.values()]
            axes.barh(list(shares), widths, left=list(left.values()), color=f"C{at % 10}",
                      alpha=1 - 0.4 * (at // 10 % 2), edgecolor="white", label=task)  # fmt: skip
            left = {run: before + width for (run, before), width in zip(left.items(), widths, strict=True)}
        axes.set_xlim(0, 1)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=min(8, len(tasks)), fontsize=8, frameon=False)
