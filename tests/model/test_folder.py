import json
from pathlib import Path

import pytest
import torch

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.folder import load_model, save_model
from omni.model.transformer import OmniTransformer
from omni.vocab import Vocabulary

VOCAB = Vocabulary(text=20, codebooks=1, codebook_size=8, image=8, picture_tokens=4, languages=("en",))
SHAPE = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=32, max_steps=32)


def saved(folder: Path) -> OmniTransformer:
    config = SHAPE.for_vocabulary(VOCAB)
    model = OmniTransformer(config)
    save_model(folder, model.state_dict(), config, VOCAB)
    return model


def test_saved_and_loaded_alike(tmp_path: Path) -> None:
    model = saved(tmp_path / "model")
    loaded, vocab = load_model(tmp_path / "model")
    assert vocab == VOCAB and loaded.config == model.config
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def damage(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-40])
    elif how == "flipped":
        data = bytearray(weights.read_bytes())
        data[-9] ^= 1
        weights.write_bytes(bytes(data))
    elif how == "missing":
        weights.unlink()
    elif how == "other vocabulary":
        Vocabulary(text=21, codebooks=1, codebook_size=8, image=8, picture_tokens=4).save(folder / "vocab.json")
    elif how == "no checksums":
        (folder / "checksums.json").write_text("[]")
    else:
        (folder / "config.json").write_text(json.dumps({"d_modle": 16}))


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing", "other vocabulary", "no checksums", "typo"])
def test_a_damaged_folder_is_refused_with_one_line(tmp_path: Path, how: str) -> None:
    saved(tmp_path / "model")
    damage(tmp_path / "model", how)
    with pytest.raises(InputError) as error:
        load_model(tmp_path / "model")
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
