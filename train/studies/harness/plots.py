"""Panels side by side, in the style of every study's figures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omni.drawing import drawing

WIDTH, HEIGHT = 4.2, 3.4                                                # inches of a panel


def panels(draws: Mapping[str, Callable[[Any], None]], path: Path) -> Path:
    """A panel a title; each function draws on the matplotlib axes that it is given. Returns the path."""
    with drawing(path, WIDTH * len(draws), HEIGHT) as figure:
        for axes, (title, draw) in zip(figure.subplots(1, len(draws), squeeze=False)[0], draws.items(), strict=True):
            draw(axes)
            axes.set_title(title, fontsize=10)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(fontsize=7, frameon=False)
    return path
