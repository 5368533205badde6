from pathlib import Path

import numpy as np
from PIL import Image

from omni.eval.abilities.scoring import Measure
from omni.safety.card.collect import Card, Number
from omni.safety.card.plots import MOST, plots

BLUE = (43, 108, 176)                                                   # of values and their intervals


def card(*names: str, value: float = 0.5) -> Card:
    measure = Measure(value, "share", value - 0.1, value + 0.1, 30)
    return Card("tiny", "weights", {name: Number(measure, "logs/x.eval", "omni", "capability") for name in names})


def rows(path: Path) -> int:
    """How many values a plot shows: lines of its pixels with the blue of one, as runs."""
    blue = (np.asarray(Image.open(path).convert("RGB")) == BLUE).all(-1).any(1)
    return int((np.diff(np.concatenate(([0], blue.astype(int)))) == 1).sum())


def test_figures_below_nought_are_seen(tmp_path: Path) -> None:
    (file,) = plots(card("text_qa_aloud_gap", value=-0.5), tmp_path).values()
    assert rows(tmp_path / file) == 1


def test_only_languages_are_the_same_by_language(tmp_path: Path) -> None:
    names = ("graders_error", "graders_error_refuse", "graders_error_fr", "guards_recall", "guards_recall_tones")
    beside = ("graders_error_baseline", "graders_error_fr_baseline")
    whole, languages = plots(card(*names, *beside), tmp_path).values()
    assert (rows(tmp_path / whole), rows(tmp_path / languages)) == (4, 1)


def test_what_does_not_fit_a_plot_goes_on_in_the_next(tmp_path: Path) -> None:
    found = plots(card(*(f"task{number}" for number in range(MOST + 3))), tmp_path)
    assert [rows(tmp_path / file) for file in found.values()] == [MOST, 3] and len(set(found)) == 2
