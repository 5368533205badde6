"""What training cost in energy, as the card of a model tells it."""

import json
import shutil
from pathlib import Path

import pytest

from omni.figures import machine
from omni.safety.card.collect import collect
from omni.safety.card.telling.cost import cost
from omni.shipped import shipped_model


@pytest.mark.parametrize(("gpu", "watts"), [(False, 15 * machine()["cores"]), (True, 700)])
def test_a_run_tells_its_hours_and_whether_a_gpu_took_them(
    gpu: bool, watts: int, model: Path, tmp_path: Path
) -> None:
    """Nine steps of 400 seconds are an hour."""
    shutil.copytree(model, tmp_path / "run" / "model")
    kept = {"allocated": 3.2} if gpu else {}
    rows = [{"kind": "train", "step": step, "seconds_per_step": 400.0, **kept} for step in (2, 9)]
    (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    card = collect(model, "t", [], [], None, tmp_path / "out")
    (table,) = cost(card, tmp_path / "run" / "model").tables
    what, hours, _, assumed, energy, by = table.rows[0]
    assert (what, hours, assumed, energy) == ("training", "1.00", str(watts), f"{watts / 1000:.4f}")
    assert ("one GPU" in by) == gpu


def test_the_model_that_ships_says_what_its_page_says(model: Path, tmp_path: Path) -> None:
    card = collect(model, "t", [], [], None, tmp_path / "out")
    (table,) = cost(card, shipped_model()).tables
    assert table.rows[0][:3] == ("training of the model", "0.28", "one GPU")
    unknown = cost(card, model)
    assert [row[0] for row in unknown.tables[0].rows] == ["evaluation"] and "is not known" in unknown.text[1]
