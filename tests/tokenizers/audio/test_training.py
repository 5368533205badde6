import json
from pathlib import Path

import numpy as np
import pytest
import torch

from omni.errors import InputError
from omni.tokenizers import resuming
from omni.tokenizers.audio import training
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.losses import spread_loss
from omni.tokenizers.audio.training import Plan, train_codec

TINY = CodecConfig(levels=(5, 4), d_model=16, d_hop=16, encoder_layers=1, decoder_layers=1)
SHORT = Plan(batch=2, seconds=0.2, warmup=5, adversarial=0.4, save_every=0.0)
GUIDED = Plan(batch=2, seconds=0.6, warmup=5, adversarial=0.4, save_every=0.0, augment=True, guidance=0.1)
WORDS = ["a b a b a b a b", "b b b b b b", "", "b a b a b a"]


def tones(count: int = 4) -> list[np.ndarray]:
    time = np.arange(8000) / 16000
    return [
        sum(0.1 * np.sin(2 * np.pi * (120 + 30 * n) * k * time) for k in range(1, 6)).astype(np.float32)
        for n in range(count)
    ]


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LOG_EVERY", 5)
    whole = train_codec(tones(), TINY, tmp_path / "whole", steps=20, texts=WORDS, seed=3, plan=GUIDED)
    step = training._step

    def stopped_at(limit: int) -> None:
        def interrupted(run: training.Run, *args: object) -> dict[str, float]:
            if run.step == limit:
                raise KeyboardInterrupt
            return step(run, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(training, "_step", interrupted)

    for limit in (7, 16):                                               # before and inside the adversarial phase
        stopped_at(limit)
        with pytest.raises(KeyboardInterrupt):
            train_codec(tones(), TINY, tmp_path / "parts", steps=20, texts=WORDS, seed=3, plan=GUIDED)
        assert not (tmp_path / "parts" / "config.json").exists()
    monkeypatch.setattr(training, "_step", step)
    parts = train_codec(tones(), TINY, tmp_path / "parts", steps=20, texts=WORDS, seed=3, plan=GUIDED)
    assert parts.fingerprint == whole.fingerprint
    for name in ("training.json", "config.json"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_finished_run_is_loaded_and_another_is_refused(tmp_path: Path) -> None:
    first = train_codec(tones(), TINY, tmp_path, steps=2, plan=SHORT)
    assert train_codec(tones(), TINY, tmp_path, steps=2, plan=SHORT).fingerprint == first.fingerprint
    assert not (tmp_path / resuming.STATE).exists()
    with pytest.raises(InputError, match="another seed"):
        train_codec(tones(), TINY, tmp_path, steps=2, seed=9, plan=SHORT)
    with pytest.raises(InputError, match="another data"):
        train_codec(tones(3), TINY, tmp_path, steps=2, plan=SHORT)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / resuming.STATE).write_bytes(b"not a tensor file at all")
    with pytest.raises(InputError, match="delete it to begin again"):
        train_codec(tones(), TINY, tmp_path, steps=2, plan=SHORT)


def test_minutes_become_a_fixed_number_of_steps(tmp_path: Path) -> None:
    train_codec(tones(), TINY, tmp_path, minutes=1e-4, plan=SHORT)
    assert json.loads((tmp_path / resuming.SUMMARY).read_text())["steps"] >= 1


def test_training_on_a_few_tones_reduces_the_loss_and_learns_their_pitch(tmp_path: Path) -> None:
    plan = Plan(batch=4, seconds=0.3, learning_rate=5e-3)
    config = CodecConfig(levels=(5, 5), d_model=32, d_hop=32, encoder_layers=1, decoder_layers=1)
    codec = train_codec(tones(2), config, tmp_path, steps=150, valid=tones(2), plan=plan)
    history = json.loads((tmp_path / resuming.SUMMARY).read_text())["history"]
    assert history[-1]["spectral"] < 0.6 * history[0]["spectral"]
    assert history[-1]["valid"] < history[0]["valid"]
    wave = torch.from_numpy(tones(2)[1])[None]
    with torch.no_grad():
        made = Codec.load(tmp_path)(wave)
    assert made.codes.equal(codec(wave).codes)
    assert abs(float(made.pitch[0, 5:40].median()) - 150) < 10


def test_the_codes_learn_to_carry_the_words(tmp_path: Path) -> None:
    plan = Plan(batch=4, seconds=0.5, warmup=20, guidance=0.5)
    words = ["aaaaaa", "bbbbbb"] * 4
    train_codec(tones(2) * 4, TINY, tmp_path, steps=120, texts=words, plan=plan)
    history = json.loads((tmp_path / resuming.SUMMARY).read_text())["history"]
    assert history[-1]["letters"] < 0.5 * history[0]["letters"]


def test_training_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no audio"):
        train_codec([np.zeros(0, dtype=np.float32)], TINY, tmp_path, steps=1)


def test_the_spread_loss_is_least_where_all_codes_are_used_alike() -> None:
    levels = torch.linspace(-1, 1, 101)
    even = torch.cartesian_prod(levels, levels)[None]                   # [1, 101 * 101, 2]
    collapsed = torch.ones(1, 100, 2)
    copied = even[..., :1].expand(-1, -1, 2)
    assert spread_loss(even) < 0.001 < 0.1 < spread_loss(copied) < spread_loss(collapsed)
