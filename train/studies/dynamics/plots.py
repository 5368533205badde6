"""Plots of the studies of dynamics, beyond curves by step: phase diagrams, spectra and fronts."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from omni.drawing import drawing
from omni.train.curvature.spectrum import Density

Point = tuple[float, float]
BELL = 0.01                                                             # standard deviation of a node in a spectrum


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
    with drawing(path, 1.6 + 0.75 * len(columns), 0.8 + 0.38 * len(rows)) as figure:
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


def spectra(runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Densities of eigenvalues, from nodes and weights of a quadrature, as multiples of a threshold that is marked."""
    import numpy as np

    with drawing(path, 6.5, 4.0) as figure:
        axes = figure.subplots()
        values = np.linspace(-0.3, 1.5, 721)
        for name, (nodes, weights) in runs.items():
            found = Density(np.array(nodes), np.array(weights), size=1)
            axes.semilogy(values, found.at(values, BELL), lw=1.1, label=name)
        axes.axvline(1.0, color="k", lw=0.8, ls=":")
        axes.set(xlabel="eigenvalue / threshold", ylabel="density", ylim=(1e-5, 1e3))
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, ncols=2)


def front(
    line: Sequence[tuple[Point, Point]], marks: Mapping[str, tuple[Point, Point]], names: tuple[str, str], path: Path
) -> None:
    """A front of two losses with methods beside it, both as (mean, deviation over seeds) of the two losses."""
    with drawing(path, 6.5, 4.6) as figure:
        axes = figure.subplots()
        means, spreads = zip(*sorted(line), strict=True)
        (xs, ys), (right, up) = zip(*means, strict=True), zip(*spreads, strict=True)
        axes.errorbar(xs, ys, xerr=right, yerr=up, fmt="k-o", ms=3, lw=1, elinewidth=0.6, label="scalarization")
        for at, (name, ((x, y), (dx, dy))) in enumerate(marks.items()):
            kind, color = "osv^D"[at // 10 % 5], f"C{at % 10}"
            axes.errorbar(x, y, xerr=dx, yerr=dy, fmt=kind, ms=5, lw=1, color=color, label=name)
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, ncols=2)
