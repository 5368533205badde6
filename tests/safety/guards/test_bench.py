"""`omni bench guards` from its flags to its last line, on a folder of noise: the sums are right."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from omni.cli import main
from omni.train.data.items import DATA_FILES, FORMAT_VERSION, SAMPLE_RATE, Item, Recording, fingerprint

SPOKEN = {
    "preset/clara": ["en"], "preset/lena": ["en", "ru", "fr"], "prompts/allison": ["en", "es"], "stamps/ru": ["ru"],
    "prompts/carlo": ["it"],
}  # fmt: skip


@pytest.fixture
def voiced(tmp_path: Path) -> Path:
    """Three recordings of each speaker in each of the languages, half a second and a little of noise each."""
    random, length = np.random.default_rng(0), int(0.6 * SAMPLE_RATE)
    items, waves = [], []
    for speaker, languages in SPOKEN.items():
        for language in [language for language in languages for _ in range(3)]:
            one = Recording(len(waves) * length, length, language, "speech", speaker, "CC0")
            waves.append(random.normal(0, 3000, length))
            texts = {"en": f"a red owl, number {len(items)}"}
            items.append(Item(f"stamps/{len(items)}", "stamps", "test", texts, {}, (), (one,), "CC0", "us"))
    (tmp_path / "items.jsonl").write_text("".join(item.to_json() + "\n" for item in items), encoding="utf-8")
    np.save(tmp_path / "pictures.npy", np.zeros((0, 64, 64, 3), np.uint8))
    np.save(tmp_path / "audio.npy", np.concatenate(waves).astype("<i2"))
    checksums = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in DATA_FILES}
    about = {
        "version": FORMAT_VERSION, "sample_rate": SAMPLE_RATE, "picture_size": 64, "samples": len(waves) * length,
        "dropped": {}, "bytes": {name: (tmp_path / name).stat().st_size for name in DATA_FILES},
        "checksums": checksums, "fingerprint": fingerprint(checksums),
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(about))
    return tmp_path


@pytest.mark.slow
def test_every_figure_is_there_and_languages_sum_up(voiced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "guards", "--data", str(voiced), "--conversations", "4", "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures = told["figures"]
    assert told["command"] == "bench guards"
    wanted = {"precision_en", "recall_en", "precision_other", "recall_other", "block_ms_p95", "cost_share"}
    assert wanted <= set(figures)
    assert {f"text_recall_{language}" for language in ("fr", "es", "ru", "it", "de")} <= set(figures)
    for name in ("recall", "false_alarms"):
        own = [figures[f"{name}_{one}"] for one in ("ru", "it", "fr") if f"{name}_{one}" in figures]
        assert sum(one["n"] for one in own) == figures[f"{name}_other"]["n"] == 4
        hits = sum(round(one["value"] * one["n"]) for one in own)
        assert hits == round(figures[f"{name}_other"]["value"] * 4)
    assert "recall_es" not in figures                                   # allison's Spanish is not among the English
    stopped = {name: round(one["value"] * one["n"]) for name, one in figures.items()
               if name.startswith(("music_recall_", "music_false_alarms_"))}  # fmt: skip
    assert figures["music_precision"]["n"] == sum(stopped.values()) >= stopped["music_recall_tones"] == 18
    assert figures["music_precision"]["low"] < figures["music_precision"]["value"] and stopped["music_recall_sung"] <= 6
    cost = figures["cost_share"]
    assert cost["n"] == 3 and cost["low"] <= cost["value"] <= cost["high"]
