"""The study of what more data would bring: tens of pictures, curves and what they say, cells, the whole on little."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omni.cli import main
from omni.errors import InputError
from omni.train.data.items import SAMPLE_RATE, Item, Recording, seal
from omni.train.studies.harness.study import Result
from omni.train.studies.limits import hearing, limits, translating
from omni.train.studies.limits.limits import GOALS, SHARES, VOICES, cells, curves, judge, tables
from omni.train.studies.limits.naming import TEN, picked
from omni.train.studies.table import STUDIES

WORDS = (
    *("red", "blue", "green", "white", "black", "brown", "dog", "cat", "house", "tree"),
    *("ball", "car", "boat", "star", "fish", "bird", "hat", "shoe", "apple", "cake"),
)


def results(of: dict[int, float], seeds: int = 3, items: int = 400, spread: float = 0.002) -> list[Result]:
    """Captions whose chrF at each count is as given, but for what the seed does and what is hard for all."""
    random, found = np.random.default_rng(0), []
    hard = random.normal(0, 0.02, items)
    for seed in range(seeds):
        rows = [(value + random.normal(0, spread) + hard).tolist() for value in of.values()]
        found.append(Result({"data": "captions"}, seed, {"counts": [*of], "scores": {"chrF": rows}}, 1.0))
    return found


def test_every_kind_of_data_has_its_amounts_with_equal_steps() -> None:
    for quick in (False, True):
        found = cells(quick)
        for kind in GOALS:
            own = [one.params for one in found if one.params["data"] == kind and one.seed == 0]
            assert len({one["steps"] for one in own}) == 1
        assert [one.params["voices"] for one in found if "voices" in one.params and one.seed == 1] == [*VOICES]
        shares = [one.params["shares"] for one in found if one.params["data"] == "pictures" and one.seed == 1]
        assert sorted(share for some in shares for share in some) == sorted(SHARES)
    assert len({one.key for one in cells(False)}) == len(cells(False))


def test_a_line_that_rises_by_what_was_put_in_meets_the_goal_where_it_must() -> None:
    """0.30 at 800, 0.05 a doubling: 0.45 is met at 6,400, 8 times as much."""
    (curve,) = curves(results({100: 0.15, 200: 0.20, 400: 0.25, 800: 0.30}))
    assert curve.slope.value == pytest.approx(0.05, abs=0.003)
    assert curve.last.value == pytest.approx(0.05, abs=0.005)
    assert curve.at(3).value == pytest.approx(0.30, abs=0.01)
    value, least, most = curve.needed
    assert value == pytest.approx(8, rel=0.3) and least <= value <= most
    assert [one.verdict for one in judge(results({100: 0.15, 200: 0.20, 400: 0.25, 800: 0.30}))] == 2 * ["shown"]


def test_the_slope_is_that_of_a_least_squares_line() -> None:
    of = {100: 0.1, 200: 0.3, 400: 0.2, 800: 0.35}
    (curve,) = curves(found := results(of))
    heights = [np.mean([one.values["scores"]["chrF"][place] for one in found]) for place in range(4)]
    assert curve.slope.value == pytest.approx(np.polyfit(np.log2([*of]), heights, 1)[0])


def test_what_does_not_rise_has_no_end() -> None:
    (curve,) = curves(results({100: 0.3, 200: 0.3, 400: 0.3, 800: 0.28}))
    assert curve.needed[0] == math.inf
    assert "no end" in tables(results({100: 0.3, 200: 0.3, 400: 0.3, 800: 0.28}))["What is missing"][1][-1]
    assert "shown" not in [one.verdict for one in judge(results({100: 0.3, 200: 0.3, 400: 0.3, 800: 0.28}))]


def test_seeds_that_differ_widen_the_interval() -> None:
    of = {100: 0.15, 200: 0.20, 400: 0.25, 800: 0.30}
    near, far = (curves(results(of, spread=spread))[0].slope for spread in (0.002, 0.05))
    assert far.high - far.low > 3 * (near.high - near.low)


@given(st.integers(0, 2**32 - 1))
def test_a_picture_is_picked_by_its_own_words(seed: int) -> None:
    """An oracle that gives each picture's words the highest scores picks all; of unknown words one in ten is right."""
    random = np.random.default_rng(seed)
    words = np.eye(2 * TEN, dtype=bool)[random.permutation(2 * TEN)]
    assert picked(np.where(words, -1.0, -9.0), words) == [1.0] * (2 * TEN)
    assert picked(np.where(words, -9.0, -1.0), words) == [0.0] * (2 * TEN)
    words[3] = False
    assert picked(np.where(words, -1.0, -9.0), words)[3] == pytest.approx(0.1)


def test_a_listener_learns_what_it_is_shown() -> None:
    random = np.random.default_rng(0)
    tones = random.normal(-8, 2, (4, 1, hearing.BANDS))
    seen = torch.from_numpy((tones[:, None] + random.normal(0, 0.3, (4, 16, hearing.HOPS, hearing.BANDS)))
                            .reshape(64, hearing.HOPS, hearing.BANDS).astype(np.float32))  # fmt: skip
    text = torch.arange(4).repeat_interleave(16)
    listener = hearing.learnt(seen, text, 4, 0, 25)
    with torch.no_grad():
        assert (listener(seen).argmax(1) == text).float().mean() > 0.9


def test_spectra_end_with_the_voice() -> None:
    tone = np.sin(np.arange(8000) / 5).astype(np.float32) / 4
    cut = hearing.spectra(tone)
    trailing = hearing.spectra(np.concatenate((tone, np.zeros(9600, np.float32))))
    assert cut.shape == (hearing.HOPS, hearing.BANDS)
    np.testing.assert_allclose(cut[-1], trailing[-1], atol=0.5)
    assert cut[-1].max() - cut[0].max() > 5


@pytest.mark.slow
def test_cells_of_every_kind_run_and_repeat_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    data = folder_of_all(tmp_path / "data")
    monkeypatch.setattr(hearing, "CROWD", ("f1", "m1"))
    monkeypatch.setattr(hearing, "LEFT_OUT", ("m7",))
    limits.prepare(data, shared, quick=True)
    for params in (
        {"data": "captions", "shares": (0.5, 1.0), "steps": 2},
        {"data": "pictures", "shares": [1.0], "steps": 2},
        {"data": "voices", "voices": 1, "steps": 2},
    ):
        first, second = (limits.run(params, 0, shared) for _ in range(2))
        assert first == second
        assert all(np.isfinite(row).all() for rows in first["scores"].values() for row in rows)


def folder_of_all(folder: Path) -> Path:
    """Stamps of four words each, some held out; a person who says two numbers in both languages."""
    folder.mkdir()
    random, items, tone = np.random.default_rng(0), [], 6000 * np.sin(np.arange(8000) / 5)
    for number in range(120):
        words = [WORDS[place] for place in random.permutation(len(WORDS))[:4]]
        texts = {language: " ".join(words) for language in ("en", *translating.LANGUAGES)}
        split = "test" if number % 3 == 0 else "train"
        items.append(Item(f"stamps/{number}", "stamps", split, texts, {}, (number,), (), "free", "us"))
    for number, text in enumerate(("one", "two")):
        said = tuple(Recording(number * 8000, 8000, code, "speech", hearing.PERSON, "free") for code in ("en", "es"))
        name = f"prompts/digits/{number + 1}"
        items.append(Item(name, "prompts", "train", {"en": text, "es": f"{text} es"}, {}, (), said, "free", "us"))
    (folder / "items.jsonl").write_text("".join(f"{item.to_json()}\n" for item in items), encoding="utf-8")
    np.save(folder / "pictures.npy", random.integers(0, 255, (120, 64, 64, 3)).astype(np.uint8))
    np.save(folder / "audio.npy", np.concatenate((tone, tone)).astype(np.int16))
    seal(folder, {"version": 1, "sample_rate": SAMPLE_RATE, "picture_size": 64, "dropped": {}})
    return folder


def test_data_that_lack_a_kind_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prepare stamps, emoji and clipart"):
        limits.prepare(prepared, tmp_path, quick=True)


def test_all_leaves_it_out_where_data_lack_a_kind(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omni.train.studies.table.STUDIES", {"limits": STUDIES["limits"]})
    assert main(["study", "all", "--quick", "--data", str(prepared), "--out", str(tmp_path / "out")]) == 0
    assert "left out: limits; prepare emoji, clipart, prompts too" in capsys.readouterr().out
    assert main(["study", "all", "--quick", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
