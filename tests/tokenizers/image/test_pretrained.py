import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import JanusVQVAE, JanusVQVAEConfig

from omni.errors import InputError
from omni.tokenizers.bundle import load_image
from omni.tokenizers.image.pretrained import PretrainedImage

CONFIG = {
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_patches": 4,
    "latent_channels": 32,
    "num_embeddings": 64,
    "num_res_blocks": 1,
}


@pytest.fixture(scope="module")
def tokenizer() -> PretrainedImage:
    torch.manual_seed(0)
    return PretrainedImage(JanusVQVAE(JanusVQVAEConfig(**CONFIG)))


def test_its_face_is_ours(tokenizer: PretrainedImage) -> None:
    assert (tokenizer.picture_size, tokenizer.tokens, tokenizer.codebook_size) == (8, 16, 64)
    pixels = torch.rand(3, 3, 8, 8)
    codes = tokenizer.encode(pixels)
    assert codes.shape == (3, 16)
    assert codes.dtype == torch.long
    made = tokenizer.decode(codes)
    assert made.shape == pixels.shape
    assert ((made >= 0) & (made <= 1)).all()
    for wrong in (torch.zeros(1, 15, dtype=torch.long), torch.full((1, 16), 64)):
        with pytest.raises(ValueError, match="codes must"):
            tokenizer.decode(wrong)
    with pytest.raises(ValueError, match="pixels must"):
        tokenizer.encode(torch.rand(1, 3, 4, 4))


def test_codes_are_those_of_transformers(tokenizer: PretrainedImage) -> None:
    pixels = torch.rand(2, 3, 8, 8)
    expected = tokenizer.model.encode(2 * pixels - 1).image_tokens
    assert tokenizer.encode(pixels).flatten().tolist() == expected.tolist()


def test_saved_and_loaded_it_is_the_same(tokenizer: PretrainedImage, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "image")
    loaded = load_image(tmp_path / "image")
    assert isinstance(loaded, PretrainedImage)
    assert loaded.fingerprint == tokenizer.fingerprint
    pixels = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.encode(pixels), tokenizer.encode(pixels))


def test_missing_and_wrong_weights_are_named(tokenizer: PretrainedImage, tmp_path: Path) -> None:
    folder = tmp_path / "image"

    def refused(reason: str) -> None:
        with pytest.raises(InputError, match=reason) as caught:
            PretrainedImage.load(folder)
        assert "\n" not in str(caught.value)
        tokenizer.save(folder)

    refused("no such file")
    weights = folder / "model.safetensors"
    weights.unlink()
    refused("the weights are missing; save one there with")
    weights.write_bytes(weights.read_bytes()[:1000])
    refused("cannot be loaded")
    tensors = load_file(weights)
    tensors.pop("quantize.embedding.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    refused("not the weights of this config")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    refused("not a janus_vqgan model")
