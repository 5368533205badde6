import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni.errors import InputError
from omni.tokenizers.image import training
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.image.pixels import to_pixels
from omni.tokenizers.image.training import Batches, Plan, reconstruction_loss, train_image_tokenizer

CONFIG = ImageConfig(16, 8, (4, 4), width=16, fine_width=8, encoder_layers=1, decoder_layers=1, fine_layers=0)
PLAN = Plan(batch=4, warmup=2, save_every=0.0)                          # saved after every step


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Squares of one colour on white: something that a tiny model can learn."""
    chance = np.random.default_rng(0)
    squares = np.full((20, 16, 16, 3), 255, np.uint8)
    for square in squares:
        square[4:12, 4:12] = chance.integers(0, 256, 3)
    return squares



def pull_the_plug_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt training in the middle of a step, after the gradients and before the weights change."""
    original = torch.nn.utils.clip_grad_norm_
    calls = 0

    def clip(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == step:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(training.nn.utils, "clip_grad_norm_", clip)


def train(pictures: np.ndarray, out: Path, **changes: Any) -> ImageTokenizer:
    settings = {"steps": 6, "seed": 3, "plan": PLAN, "valid": pictures[:4], **changes}
    return train_image_tokenizer(pictures, settings.pop("config", CONFIG), out, **settings)


def test_an_interrupted_training_ends_bit_for_bit_like_a_whole_one(
    pictures: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(pictures, tmp_path / "whole")
    for step in (1, 3, 2):                                              # within the first step, twice on the way
        with monkeypatch.context() as patch:
            pull_the_plug_at(step, patch)
            with pytest.raises(KeyboardInterrupt):
                train(pictures, tmp_path / "cut")
    assert (tmp_path / "cut" / "training.safetensors").exists()
    assert not (tmp_path / "cut" / "config.json").exists()
    assert train(pictures, tmp_path / "cut").fingerprint == whole.fingerprint
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("whole", "cut")]
    assert files[0] == files[1] == ["config.json", "model.safetensors", "training.json"]
    histories = [json.loads((tmp_path / name / "training.json").read_text())["history"] for name in ("whole", "cut")]
    assert histories[0] == histories[1]


def test_a_finished_training_is_loaded_not_repeated(pictures: np.ndarray, tmp_path: Path) -> None:
    first = train(pictures, tmp_path)
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    assert train(pictures, tmp_path).fingerprint == first.fingerprint
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp


def test_training_leaves_the_callers_dice_alone_and_depends_on_the_seed(pictures: np.ndarray, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = train(pictures, tmp_path / "a", steps=1)
    assert torch.equal(torch.rand(1), expected)
    assert train(pictures, tmp_path / "b", steps=1, seed=4).fingerprint != one.fingerprint


def test_it_learns(pictures: np.ndarray, tmp_path: Path) -> None:
    pixels = to_pixels(pictures)
    losses = []
    for steps in (1, 150):
        model = train(pictures, tmp_path / str(steps), steps=steps, plan=Plan(batch=8, warmup=5, shift=0))
        losses.append(reconstruction_loss(model.decode(model.encode(pixels)), pixels).item())
    assert losses[1] < 0.35 * losses[0]


def test_minutes_become_steps(pictures: np.ndarray, tmp_path: Path) -> None:
    train(pictures, tmp_path, steps=None, minutes=0.005)
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["steps"] >= 1
    assert summary["history"][-1]["step"] == summary["steps"]


def test_another_run_in_the_folder_is_refused(pictures: np.ndarray, tmp_path: Path, monkeypatch: Any) -> None:
    train(pictures, tmp_path / "done", steps=1)
    with monkeypatch.context() as patch:
        pull_the_plug_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(pictures, tmp_path / "cut")
    for folder in ("done", "cut"):
        with pytest.raises(InputError, match="another seed, steps"):
            train(pictures, tmp_path / folder, seed=9, steps=2)
        with pytest.raises(InputError, match="another data"):
            train(pictures[:19], tmp_path / folder, steps=1 if folder == "done" else 6)


def test_a_damaged_state_is_refused(pictures: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        pull_the_plug_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(pictures, tmp_path)
    state = tmp_path / "training.safetensors"
    assert load_file(state)                                             # tensors only, nothing pickled
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged training state"):
        train(pictures, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (np.zeros((0, 16, 16, 3), np.uint8), "no pictures"),
        (np.zeros((2, 8, 8, 3), np.uint8), "picture size 16"),
        (np.zeros((2, 16, 16, 3), np.float32), "must be uint8"),
    ],
)
def test_pictures_of_another_shape_are_refused(wrong: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        train(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_holds_every_picture_once() -> None:
    numbered = np.repeat(np.arange(12, dtype=np.uint8), 4 * 4 * 3).reshape(12, 4, 4, 3)
    batches = Batches(numbered, Plan(batch=4, shift=0), seed=1)
    epochs = [[int(x) for step in range(3 * e, 3 * e + 3) for x in batches(step)[:, 0, 0, 0] * 255] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert torch.equal(batches(4), Batches(numbered, Plan(batch=4, shift=0), seed=1)(4))


def test_shifted_pictures_are_filled_with_white() -> None:
    batches = Batches(np.zeros((1, 8, 8, 3), np.uint8), Plan(batch=1, shift=4), seed=0)
    values = {float(value) for step in range(8) for value in batches(step).unique()}
    assert values == {0.0, 1.0}
