"""Figures without an interval: nothing is known of chance, which is not to say that there is none."""

import json
import re
from pathlib import Path

import pytest

from omni.cli import main
from omni.eval.abilities.scoring import Measure, share
from omni.files import write_json
from omni.safety.card.collect import Number, collect, has_interval
from omni.safety.card.derived import unpaired_gap
from omni.safety.card.diff import diff
from omni.safety.card.render import write_card


def benched(path: Path, value: float) -> Path:
    figures = {"recall_fr": {"value": value, "unit": "share", "low": None, "high": None, "n": None},
               "recall_en": {"value": 0.9, "unit": "share", "low": 0.8, "high": 0.95, "n": 30}}  # fmt: skip
    path.write_text(json.dumps({"command": "bench guards", "figures": figures, "machine": {}}))
    return path


def test_a_card_says_that_a_figure_has_no_interval(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)                                         # the checkout may have runs by now
    card = collect(model, "t", [], [benched(tmp_path / "g.json", 0.5)], None, tmp_path / "out")
    number = card.numbers["guards_recall_fr"]
    assert isinstance(number, Number) and not has_interval(number.measure)
    write_card(card, model, tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "card.json").read_text(), parse_constant=pytest.fail)
    assert kept["figures"]["guards_recall_fr"]["low"] is kept["figures"]["guards_recall_fr"]["high"] is None
    assert kept["figures"]["guards_recall_en"]["low"] == 0.8
    page = (tmp_path / "out" / "README.md").read_text()
    assert not re.search(r"\bnan\b", page) and "| guards_recall | fr | 0.5 | 0.9 [0.8, 0.95] | -0.4 |" in page
    assert not has_interval(unpaired_gap(number.measure, share([True] * 5)))
    words = ["card", str(model), "--figures", str(tmp_path / "g.json"), "--out", str(tmp_path / "again"), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)["figures"]
    assert told["guards_recall_fr"]["low"] is None and told["guards_recall_en"]["high"] == 0.95


def test_cards_differ_by_more_than_chance_only_where_both_have_intervals(tmp_path: Path) -> None:
    none = {"value": 0.5, "unit": "s", "low": None, "high": None, "n": 1}
    for name, bare, one in (("a", none, none), ("b", {**none, "value": 0.9}, vars(Measure(0.9, "s", 0.8, 1.0, 9)))):
        write_json(tmp_path / name / "card.json", {"figures": {"bare": bare, "half": one}})
    found = [(one.before, one.after, one.apart) for one in diff(tmp_path / "a", tmp_path / "b")]
    assert found == 2 * [(0.5, 0.9, False)]
