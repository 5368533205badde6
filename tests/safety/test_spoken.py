"""Requests to refuse and to comply with, through damage and in accents, by the model that ships."""

import json
from pathlib import Path

import pytest

from omni.cli import main
from omni.eval.inspected import wishes
from omni.files import read_json
from omni.safety.suites import tasks
from omni.safety.suites.tasks import (
    should_comply_accents,
    should_comply_channels,
    should_refuse_accents,
    should_refuse_channels,
)
from omni.shipped import shipped_model
from omni.tokenizers.audio.voices import is_installed

pytestmark = pytest.mark.skipif(not is_installed("espeak-ng"), reason="no synthesizer")
SIDES, ENDINGS = ("refuse", "comply"), ("_aloud", "_channels", "_accents")
NAMES = [f"should_{side}{ending}" for ending in ENDINGS for side in SIDES]


@pytest.fixture(autouse=True)
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels and two accents, so that ten requests are enough, and no data of the checkout."""
    monkeypatch.setenv("OMNI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wishes, "MOST_TOKENS", 4)
    monkeypatch.setattr(tasks, "DAMAGED", ("noise", "telephone"))
    monkeypatch.setattr(tasks, "ACCENTS", {"en": ("en-us", "en-gb-scotland")})


def test_a_pair_of_requests_goes_the_same_way() -> None:
    """Else refusing and complying would differ by what they were heard through."""
    for key, makers in (
        ("channel", (should_refuse_channels, should_comply_channels)),
        ("accent", (should_refuse_accents, should_comply_accents)),
    ):
        refused, complied = (
            {str(one.id): one.metadata["groups"] for one in maker(n=4).dataset} for maker in makers
        )
        assert refused == complied and len({groups[key] for groups in refused.values()}) == 2


def test_refusing_and_complying_stand_side_by_side_each_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, card = tmp_path / "safety", tmp_path / "card"
    assert main(["eval", "suite", "safety", "--limit", "10", "--tasks", *NAMES, "--out", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    for side in SIDES:
        plain = figures[f"should_{side}_aloud_right"]
        assert figures[f"should_{side}_aloud_right_baseline"]["value"] == float(side == "refuse")
        for ending in ENDINGS[1:]:
            one, gap = (figures[f"should_{side}{ending}_{name}"] for name in ("right", "gap"))
            assert one["n"] == gap["n"] == plain["n"] == 10 and gap["low"] <= gap["value"] <= gap["high"]
            assert gap["value"] == pytest.approx(one["value"] - plain["value"])
    by_task = {one["task"]: one["groups"] for one in read_json(out / "suite.json")["tasks"]}
    assert {who: one["n"] for who, one in by_task["should_refuse_channels"]["channel"]["gap"].items()} == {
        "noise": 5, "telephone": 5,
    }  # fmt: skip
    assert set(by_task["should_comply_accents"]["accent"]["gap"]) == {"en-us", "en-gb-scotland"}

    assert main(["card", str(shipped_model()), "--runs", str(out), "--out", str(card)]) == 0
    page = (card / "card.html").read_text("utf-8")
    assert "refused or hedged, where that is right" in page
    text = (card / "README.md").read_text("utf-8")
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in text.splitlines() if line.startswith("| ")}
    for how in ("aloud", "through damage: noise", "in accents: en-gb-scotland"):
        cells = rows[how]
        assert all("n=" in cells[at] for at in (1, 4)) and all("](logs/" in cells[at] for at in (3, 6)), how
    assert "n=5" in rows["through damage: noise"][2] and "n=" not in rows["aloud"][2]      # no written run beside it


def test_the_text_guard_is_measured_on_what_the_model_writes_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model writes down a request alone, and none that the policy hedges counts; beside it, the same in writing."""
    out, card = tmp_path / "safety", tmp_path / "card"
    names = [f"should_{side}{ending}" for side in SIDES for ending in ("_aloud", "_heard")]
    assert main(["eval", "suite", "safety", "--limit", "12", "--tasks", *names, "--out", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    asked = [one for one in tasks.should_refuse(n=12).dataset if one.target != "hedge"]
    stopped = figures["should_refuse_heard_stopped"]
    assert stopped["n"] == len(asked) < 12 and figures["should_comply_heard_stopped"]["n"] == 12
    assert figures["should_refuse_heard_stopped_baseline"]["value"] > stopped["value"]  # four tokens are no request
    assert main(["card", "omni-tiny", "--runs", str(out), "--out", str(card)]) == 0
    assert not any("partial" in one for one in read_json(card / "card.json")["problems"])
    known, page = read_json(card / "card.json")["figures"], (card / "README.md").read_text("utf-8")
    guarded = known["should_refuse_aloud_right_guarded"]
    rows = read_json(card / guarded["source"])
    assert guarded["n"] == known["should_refuse_aloud_right"]["n"] == len(rows) == 12
    assert guarded["value"] >= known["should_refuse_aloud_right"]["value"]
    assert "spoken requests to refuse that it stops, as the model writes them down | 0.00, by definition |" in page
    assert "other speakers, in English, that are heard | 1.00, by definition | not measured |" in page
