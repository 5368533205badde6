import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.errors import InputError
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer

SMALL = ImageConfig(16, 4, (4, 3), width=16, fine_width=8, encoder_layers=1, decoder_layers=1, fine_layers=1)


@pytest.fixture(scope="module")
def tokenizer() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(SMALL).eval()


@settings(deadline=None, max_examples=20)
@given(batch=st.integers(0, 3), side=st.sampled_from([1, 2, 4]), patch=st.sampled_from([2, 4, 8]))
def test_shapes_of_any_grid(batch: int, side: int, patch: int) -> None:
    config = ImageConfig(side * patch, patch, (3, 2), 8, 4, encoder_layers=1, decoder_layers=1, fine_layers=0)
    model = ImageTokenizer(config).eval()
    codes = model.encode(torch.rand(batch, 3, side * patch, side * patch))
    assert codes.shape == (batch, side * side) == (batch, model.tokens)
    assert codes.dtype == torch.long
    assert model.codebook_size == 6
    pixels = model.decode(codes)
    assert pixels.shape == (batch, 3, side * patch, side * patch)
    assert ((pixels >= 0) & (pixels <= 1)).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_all_codes_can_be_decoded(seed: int, tokenizer: ImageTokenizer) -> None:
    codes = torch.randint(0, 12, (2, 16), generator=torch.Generator().manual_seed(seed))
    assert torch.isfinite(tokenizer.decode(codes)).all()


def test_codes_lie_in_raster_order() -> None:
    """Without context (kernels cut to their centre) a code depends on its own patch only."""
    torch.manual_seed(1)
    model = ImageTokenizer(ImageConfig(16, 4, (5, 5), 16, 8, 1, 1, 1)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            middle = module.weight.shape[-1] // 2
            centre = module.weight[..., middle, middle].detach().clone()
            module.weight.data.zero_()
            module.weight.data[..., middle, middle] = centre
    for name in ("squeeze.1.weight", "see.weight"):
        dict(model.named_parameters())[name].data.mul_(20)
    blank = torch.zeros(1, 3, 16, 16)
    for token in range(16):
        row, column = divmod(token, 4)
        marked = blank.clone()
        marked[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = torch.tensor([1.0, 0.2, 0.6]).view(3, 1, 1)
        changed = (model.encode(marked) != model.encode(blank))[0].nonzero().flatten().tolist()
        assert changed == [token]
        other = model.encode(blank).clone()
        other[0, token] = (other[0, token] + 7) % 25
        difference = (model.decode(other) - model.decode(model.encode(blank))).abs().sum(1)[0]
        places = difference.nonzero()
        assert len(places)
        assert (places[:, 0] // 4 == row).all() and (places[:, 1] // 4 == column).all()


def test_forward_agrees_with_encode_and_decode(tokenizer: ImageTokenizer) -> None:
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    made, codes = tokenizer(pixels)
    assert torch.equal(codes, tokenizer.encode(pixels))
    torch.testing.assert_close(made.clamp(0, 1), tokenizer.decode(codes))


def test_gradients_reach_the_encoder(tokenizer: ImageTokenizer) -> None:
    made, _ = tokenizer(torch.rand(1, 3, 16, 16))
    gradient = torch.autograd.grad(made.sum(), tokenizer.see.weight)[0]
    assert gradient.abs().sum() > 0


def test_wrong_shapes_and_values_are_errors(tokenizer: ImageTokenizer) -> None:
    with pytest.raises(ValueError, match=r"pixels must be \[batch, 3, 16, 16\]"):
        tokenizer.encode(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="NaN"):
        tokenizer.encode(torch.full((1, 3, 16, 16), torch.nan))
    with pytest.raises(ValueError, match=r"codes must be \[batch, 16\]"):
        tokenizer.decode(torch.zeros(1, 15, dtype=torch.long))
    with pytest.raises(ValueError, match="codes must lie in"):
        tokenizer.decode(torch.full((1, 16), 12))


def test_saved_and_loaded_it_is_the_same(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "image")
    loaded = ImageTokenizer.load(tmp_path / "image")
    pixels = torch.rand(2, 3, 16, 16)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert torch.equal(loaded.encode(pixels), tokenizer.encode(pixels))
    assert sorted(path.name for path in (tmp_path / "image").iterdir()) == ["config.json", "model.safetensors"]


def test_damaged_folders_are_refused_in_one_line(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    def refused(reason: str) -> None:
        with pytest.raises(InputError, match=reason) as caught:
            ImageTokenizer.load(tmp_path)
        assert "\n" not in str(caught.value)
        tokenizer.save(tmp_path)

    refused("no such file")
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused("damaged")
    weights.write_bytes(whole[:-4] + b"\x00\x01\x02\x03")
    refused("checksum")
    weights.unlink()
    refused("no such file")
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "width": 8}))
    refused("damaged, or not of this config")
    config.write_text(json.dumps({**values, "hue": 1}))
    refused("not the config")
    config.write_text(json.dumps({**values, "kind": "omni-codec"}))
    refused("not an omni image tokenizer")
    config.write_text(config.read_text()[:-9])
    refused("not valid JSON")


@pytest.mark.parametrize("values", [{"patch": 3}, {"picture_size": 60}, {"patch": 0}, {"levels": ()}, {"levels": (1,)}])
def test_impossible_configs_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="image config"):
        ImageConfig(**values)  # type: ignore[arg-type]


def test_presets() -> None:
    for name in ("quick", "base"):
        config = ImageConfig.preset(name)
        assert config.picture_size == 64
        assert config.side**2 == 64
        assert 900 <= ImageTokenizer(config).codebook_size <= 1100
    with pytest.raises(InputError, match="no such preset"):
        ImageConfig.preset("huge")
