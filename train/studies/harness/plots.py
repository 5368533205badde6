"""Panels side by side, in the style of every study's figures."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omni.drawing import drawing

WIDTH, HEIGHT = 4.2, 3.4                                                # inches of a panel
PRINT = 200                                                             # dots an inch: two panels fill a printed page
MARKS = ("o", "s", "^", "D", "v", "P", "X")                             # told apart without colours, too


def panels(draws: Mapping[str, Callable[[Any], None]], path: Path, across: int = 0) -> Path:
    """A panel a title; each function draws on the matplotlib axes that it is given. Returns the path.

    across: how many stand in a row (default: all)
    """
    across = across or len(draws)
    rows = math.ceil(len(draws) / across)
    with drawing(path, WIDTH * across, HEIGHT * rows, PRINT) as figure:
        fields = figure.subplots(rows, across, squeeze=False).flatten()
        for empty in fields[len(draws) :]:
            empty.set_visible(False)
        for axes, (title, draw) in zip(fields, draws.items(), strict=False):
            draw(axes)
            axes.set_title(title, fontsize=10)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            if axes.get_legend() is None and axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=7, frameon=False)
    return path


def decades(axes: Any, across: Sequence[float], up: Sequence[float]) -> None:
    """Both axes logarithmic, with plain numbers: at each of `across`, and five over the range of `up`."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xticks(across, [f"{value:,.0f}" for value in across])
    ticks = np.geomspace(min(up), max(up), 5).round(1)
    axes.set_yticks(ticks, [f"{value:g}" for value in ticks])


def below(axes: Any, columns: int) -> None:
    """A legend under the axes, where curves leave no room in them."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, fontsize=7, frameon=False)
