"""Plots in files, drawn by matplotlib without a screen."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omni.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def drawing(path: Path, width: float, height: float, dpi: int = 110) -> Iterator["Figure"]:
    """A figure of so many inches, to be drawn within and then written, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with atomic_path(path) as scratch:
        figure.savefig(scratch)
