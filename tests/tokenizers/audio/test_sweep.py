import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from omni.errors import InputError
from omni.tokenizers.audio import sweep
from omni.tokenizers.audio.config import CodecConfig

TINY = CodecConfig(d_model=8, d_hop=8, encoder_layers=1, decoder_layers=1)


def wave(seed: int = 0) -> np.ndarray:
    time = np.arange(12000) / 16000
    rhythm = 0.05 + np.sin(2 * np.pi * 3 * time) ** 2
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.1 * rhythm * (np.sin(2 * np.pi * 200 * time) + 0.3 * noise)).astype(np.float32)


def test_a_sweep_fills_a_row_per_cell_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "RATES", (25.0, 50.0))
    monkeypatch.setattr(sweep, "LEVELS", ((4, 4),))
    monkeypatch.setattr(sweep, "_classical", lambda: [("same", 256000.0, lambda wave: wave)])
    rows = sweep.sweep([wave(1)], [(wave(), None)], tmp_path, steps=2, base=TINY)
    assert [row["name"] for row in rows] == ["25 Hz x 16", "50 Hz x 16", "same"]
    assert [row["figures"]["bits_per_second"]["value"] for row in rows] == [100, 200, 256000]
    assert rows[2]["figures"]["stoi"]["value"] == pytest.approx(1, abs=1e-6)
    assert len((tmp_path / "sweep.md").read_text().splitlines()) == 5
    assert (tmp_path / "sweep.png").stat().st_size > 5000
    cell = tmp_path / "cells" / "25Hzx16.json"
    cell.write_text(cell.read_text().replace("25 Hz", "kept"))
    (tmp_path / "cells" / "same.json").unlink()
    assert [row["name"] for row in sweep.sweep([wave(1)], [(wave(), None)], tmp_path, steps=2, base=TINY)] == [
        "kept x 16", "50 Hz x 16", "same",
    ]  # fmt: skip
    assert json.loads((tmp_path / "sweep.json").read_text())["steps"] == 2


@pytest.mark.skipif(shutil.which("opusenc") is None or shutil.which("c2enc") is None, reason="needs opus-tools, codec2")
def test_the_classical_codecs_give_back_the_rhythm_of_the_sound() -> None:
    def loudness(samples: np.ndarray) -> np.ndarray:
        return np.sqrt((samples[:12000].reshape(-1, 400) ** 2).mean(1))

    for name, bits, coded in sweep._classical():
        decoded = coded(wave())
        assert len(decoded) >= 11500 and bits <= 6000, name
        padded = np.pad(decoded, (0, max(0, 12000 - len(decoded))))
        assert np.corrcoef(loudness(padded), loudness(wave()))[0, 1] > 0.7, name


def test_a_sweep_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        sweep.sweep([wave()], [], tmp_path, steps=1)
