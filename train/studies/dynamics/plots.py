"""Plots of the studies of dynamics: curves with thresholds, phase diagrams, spectra and fronts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omni.drawing import drawing
from omni.train.curvature.spectrum import Density
from omni.train.studies.harness.plots import PRINT, below, panels

Point = tuple[float, float]
BELL = 0.01                                                             # standard deviation of a node in a spectrum
KINDS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*", "p")    # of marks
THRESHOLD = {"color": "k", "ls": ":", "lw": 1.2}


@dataclass(frozen=True)
class Line:
    """Points (x, y) of a run or of a threshold, and matplotlib's settings of its look. told: in the legend, with others
    of its label once."""

    label: str
    points: Sequence[Point]
    look: Mapping[str, Any]
    told: bool = True


def lines(found: Sequence[Line], y: str, log: bool = False, x: str = "step") -> Callable[[Any], None]:
    """What draws them on axes, in their order."""

    def draw(axes: Any) -> None:
        told = set[str]()
        for line in found:
            if line.points:
                label = line.label if line.told and line.label not in told else None
                told |= {line.label} if label else set()
                axes.plot(*zip(*line.points, strict=True), label=label, **line.look)
        axes.set_xlabel(x, fontsize=8)
        axes.set_ylabel(y, fontsize=8)
        if log:
            axes.set_yscale("log")
            axes.tick_params(which="minor", labelsize=7)
        below(axes, 3)

    return draw


def phases(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    x: str,
    path: Path,
    label: str = "loss",
    bounds: tuple[float, float] = (1e-3, 10.0),
) -> None:
    """A field a row and column, coloured by a value that spans decades, of which `bounds` are told apart."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    colours = colormaps["viridis_r"].with_extremes(over="white")
    with drawing(path, 1.6 + 0.75 * len(columns), 0.8 + 0.38 * len(rows), PRINT) as figure:
        axes = figure.subplots()
        image = axes.imshow(values, aspect="auto", cmap=colours, norm=LogNorm(*bounds, clip=False))
        axes.set_xticks(range(len(columns)), columns, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.set_xlabel(x, fontsize=8)
        for at, row in enumerate(values):
            for place, value in enumerate(row):
                text = f"{value:.2g}" if value < 100 else "–"
                dark = math.sqrt(bounds[0] * bounds[1]) < value <= bounds[1]
                axes.text(place, at, text, ha="center", va="center", fontsize=7, color="w" if dark else "k")
        figure.colorbar(image, ax=axes, label=label)


def spectra(groups: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], path: Path) -> None:
    """Densities of eigenvalues, from nodes and weights of a quadrature, as multiples of a threshold that is marked: a
    panel a group."""
    import numpy as np

    values = np.linspace(-0.3, 1.5, 721)

    def drawn(runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], axes: Any) -> None:
        for name, (nodes, weights) in runs.items():
            found = Density(np.array(nodes), np.array(weights), size=1)
            axes.semilogy(values, found.at(values, BELL), lw=1.0, label=name)
        axes.axvline(1.0, label="threshold", **THRESHOLD)
        axes.set_ylim(1e-5, 1e3)
        axes.set_xlabel("eigenvalue / threshold", fontsize=8)
        axes.set_ylabel("density", fontsize=8)

    panels({title: partial(drawn, runs) for title, runs in groups.items()}, path)


Spread = tuple[Point, Point]                                            # means of two losses, and half their intervals


def front(sums: Mapping[str, Spread], marks: Mapping[str, Spread], names: tuple[str, str], path: Path) -> None:
    """Two losses of weighted sums and of methods: all, and the methods from nearer by. Joined are the sums of the
    convex front, from which a gain is counted; dashed is how far that goes on where one loss alone counts."""
    with drawing(path, 11.5, 4.4, PRINT) as figure:
        whole, near = figure.subplots(1, 2)
        for axes in (whole, near):
            _front(axes, sums, marks)
            axes.set(xlabel=names[0], ylabel=names[1])
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        whole.set_title("all", fontsize=10)
        near.set_title("the methods", fontsize=10)
        for bounds, at in ((near.set_xlim, 0), (near.set_ylim, 1)):
            ends = [mean[at] + side * spread[at] for mean, spread in marks.values() for side in (-1, 1)]
            bounds(min(ends), max(ends))
        handles, labels = whole.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)


def _front(axes: Any, sums: Mapping[str, Spread], marks: Mapping[str, Spread]) -> None:
    line = hull([mean for mean, _ in sums.values()])
    bars = {"fmt": "none", "elinewidth": 0.7, "alpha": 0.4}
    for name, ((x, y), (dx, dy)) in sums.items():
        axes.errorbar(x, y, xerr=dx, yerr=dy, color="k", **bars)
        axes.annotate(name, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=7, clip_on=True, zorder=5)
    above = [mean for mean, _ in sums.values() if mean not in line]
    axes.plot(*zip(*line, strict=True), "k-o", lw=1.2, ms=5, label="weighted sums, the convex front")
    if above:
        axes.plot(*zip(*above, strict=True), "o", ms=5, color="k", mfc="w", label="weighted sums above it")
    for at, (name, ((x, y), (dx, dy))) in enumerate(marks.items()):
        color = f"C{at % 10}"
        axes.errorbar(x, y, xerr=dx, yerr=dy, color=color, **bars)
        kind = KINDS[at % len(KINDS)]
        axes.plot(x, y, kind, ls="", ms=7, mew=1.4, color=color, mfc="none", label=name, zorder=4)
    limits = axes.axis()
    (left, top), (right, low) = line[0], line[-1]
    axes.plot([left, left], [top, limits[3]], "k--", lw=0.9)
    axes.plot([right, limits[1]], [low, low], "k--", lw=0.9)
    axes.axis(limits)


def hull(points: Sequence[Point]) -> list[Point]:
    """The convex front of points of two losses: those that have the least sum of both under some weights, from the
    least first loss to the least second."""
    found: list[Point] = []
    for point in sorted(points):
        while len(found) > 1 and _left(found[-2], found[-1], point) <= 0:
            found.pop()
        found.append(point)
    return found[: 1 + min(range(len(found)), key=lambda at: (found[at][1], at))]


def _left(a: Point, b: Point, c: Point) -> float:
    """Above 0 where the way from a by b to c turns to the left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
