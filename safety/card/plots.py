"""Pictures of a card: figures with their intervals, and beside them chance."""

from pathlib import Path
from typing import TYPE_CHECKING

from omni.files import atomic_path

if TYPE_CHECKING:
    from omni.safety.card.collect import Card, Number

FOLDER = "plots"
WIDTH, ROW = 8.0, 0.26                                                  # inches
MOST = 40                                                               # figures of a plot


def plots(card: "Card", out: Path) -> dict[str, str]:
    """Title to file below `out`, as far as there is something to show: all shares, and each language by itself."""
    whole = {name: one for name, one in card.numbers.items() if one.measure.unit == "share"}
    parts = {name for name in whole if name.rpartition("_")[0] in whole and not name.endswith("_guarded")}
    main = {name: one for name, one in whole.items() if name not in parts}
    beside = ("_baseline", "_unparsable")
    split = {name: one for name, one in whole.items() if name in parts and not name.endswith(beside)}
    found = {}
    for title, file, some in (
        ("Shares, with 95 % intervals; a line marks chance", "shares", main),
        ("The same by language", "languages", split),
    ):  # fmt: skip
        if some:
            _draw(dict(list(some.items())[:MOST]), title, out / FOLDER / f"{file}.png")
            found[title] = f"{FOLDER}/{file}.png"
    return found


def _draw(some: "dict[str, Number]", title: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 1.0 + ROW * len(some)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, one in enumerate(found := [number.measure for number in some.values()]):
        axes.plot([one.low, one.high], [row, row], color="#2b6cb0", linewidth=2)
        axes.plot(one.value, row, "o", color="#2b6cb0", markersize=5)
        if one.chance is not None:
            axes.plot(one.chance, row, "|", color="#b3541e", markersize=11, markeredgewidth=2)
    axes.set_yticks(range(len(some)), list(some), fontsize=8)
    axes.set_xlim(-0.02, max(1.02, *(1.02 * one.high for one in found)))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title, fontsize=10, loc="left")
    with atomic_path(path) as scratch:
        figure.savefig(scratch, format="png")
