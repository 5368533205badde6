"""Pictures of a card: figures with their intervals, and beside them chance."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from omni.drawing import drawing
from omni.safety.card.telling.languages import LANGUAGE

if TYPE_CHECKING:
    from omni.safety.card.collect import Card, Number

FOLDER = "plots"
WIDTH, ROW = 8.0, 0.26                                                  # inches
MOST = 40                                                               # figures of a plot


def plots(card: "Card", out: Path) -> dict[str, str]:
    """Title to file below `out`, as far as there is something to show: all shares, and each language by itself.

    What does not fit one plot goes on in the next.
    """
    shares = {name: one for name, one in card.numbers.items() if one.measure.unit == "share"}
    whole = {name: one for name, one in shares.items() if not name.endswith(("_baseline", "_unparsable"))}
    split = {name: one for name, one in whole.items() if _of_language(name, whole)}
    main = {name: one for name, one in whole.items() if name not in split}
    found = {}
    for title, file, some in (
        ("Shares, with 95 % intervals; a line marks chance", "shares", list(main.items())),
        ("The same by language", "languages", list(split.items())),
    ):  # fmt: skip
        for number, first in enumerate(range(0, len(some), MOST), 1):
            named, stem = (title, file) if number == 1 else (f"{title} ({number})", f"{file}-{number}")
            _draw(dict(some[first : first + MOST]), named, out / FOLDER / f"{stem}.png")
            found[named] = f"{FOLDER}/{stem}.png"
    return found


def _of_language(name: str, known: "dict[str, Number]") -> bool:
    stem, _, code = name.rpartition("_")
    return stem in known and LANGUAGE.fullmatch(code) is not None


def _draw(some: "dict[str, Number]", title: str, path: Path) -> None:
    with drawing(path, WIDTH, 1.0 + ROW * len(some)) as figure:
        axes = figure.add_subplot()
        for row, one in enumerate(found := [number.measure for number in some.values()]):
            axes.plot([one.low, one.high], [row, row], color="#2b6cb0", linewidth=2)
            axes.plot(one.value, row, "o", color="#2b6cb0", markersize=5)
            if one.chance is not None:
                axes.plot(one.chance, row, "|", color="#b3541e", markersize=11, markeredgewidth=2)
        axes.set_yticks(range(len(some)), list(some), fontsize=8)
        ends = [end for one in found for end in (one.value, one.low, one.high) if not math.isnan(end)]
        axes.set_xlim(min(-0.02, *(end - 0.02 for end in ends)), max(1.02, *(1.02 * end for end in ends)))
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(title, fontsize=10, loc="left")
