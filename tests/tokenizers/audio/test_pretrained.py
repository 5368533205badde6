from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

from omni.errors import InputError
from omni.tokenizers.audio.pretrained import PretrainedCodec
from omni.tokenizers.bundle import load_audio


def small(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "mimi":
        return MimiModel(
            MimiConfig(
                hidden_size=32, num_filters=4, codebook_size=32, codebook_dim=16, num_quantizers=4, num_hidden_layers=1,
                intermediate_size=32, num_attention_heads=2, num_key_value_heads=2, upsample_groups=32,
                vector_quantization_hidden_dimension=16,
            )
        )  # fmt: skip
    if kind == "encodec":
        config = EncodecConfig(hidden_size=16, num_filters=4, codebook_size=32, target_bandwidths=[0.75, 1.5])
        return EncodecModel(config)
    return DacModel(
        DacConfig(encoder_hidden_size=4, decoder_hidden_size=64, n_codebooks=3, codebook_size=32, codebook_dim=4)
    )


@pytest.fixture(scope="module", params=["mimi", "encodec", "dac"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    small(request.param).save_pretrained(path)
    return path


def test_it_has_the_face_of_our_codec(folder: Path) -> None:
    codec = PretrainedCodec.load(folder)
    wave = 0.1 * torch.randn(2, 10000, generator=torch.Generator().manual_seed(0))
    codes = codec.encode(wave)
    frames = -(-10000 // codec.samples_per_frame)
    assert codes.shape == (2, frames, codec.codebooks) and codes.dtype == torch.long
    assert 0 <= codes.min() and codes.max() < codec.codebook_size
    assert codec.decode(codes).shape == (2, frames * codec.samples_per_frame)
    assert codec.samples_per_frame * codec.frame_rate == codec.sample_rate
    assert codec.fingerprint == PretrainedCodec.load(folder).fingerprint


def test_a_causal_one_hears_no_silence_behind_a_wave(folder: Path) -> None:
    codec = PretrainedCodec.load(folder)
    generator, changed = torch.Generator().manual_seed(0), 0
    for length in (5000, 7777, 12000, 16000):
        wave = 0.1 * torch.randn(1, length, generator=generator)
        codes = codec.encode(wave)
        behind = codec.encode(torch.nn.functional.pad(wave, (0, 9001)))[:, : codes.shape[1]]
        changed += int((behind != codes).sum())
    assert codec.causal == (changed == 0) == (codec.kind != "dac")


def test_the_first_codebooks_can_be_used_alone(folder: Path) -> None:
    wave = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    every, two = PretrainedCodec.load(folder), PretrainedCodec.load(folder, codebooks=2)
    assert torch.equal(two.encode(wave), every.encode(wave)[..., :2])
    with pytest.raises(InputError, match="codebooks=99"):
        PretrainedCodec.load(folder, codebooks=99)


def test_what_is_saved_is_the_same_tokenizer(folder: Path, tmp_path: Path) -> None:
    two = PretrainedCodec.load(folder, codebooks=2)
    two.save(tmp_path / "audio")
    again = load_audio(tmp_path / "audio")
    assert (again.codebooks, again.fingerprint) == (2, two.fingerprint) != (2, PretrainedCodec.load(folder).fingerprint)
    wave = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.encode(wave), two.encode(wave))


def test_its_stream_ends_with_the_codes_and_samples_of_the_whole(folder: Path) -> None:
    codec = PretrainedCodec.load(folder)
    wave = 0.1 * torch.randn(1, 9000, generator=torch.Generator().manual_seed(0))
    state = codec.start(1)
    for chunk in wave.split(2500, dim=1):
        codes, state = codec.encode_stream(chunk, state)
        assert codes.shape[1] == 0
    codes, state = codec.encode_finish(state)
    assert torch.equal(codes, codec.encode(wave))
    parts = []
    for part in codes.split(2, dim=1):
        made, state = codec.decode_stream(part, state)
        parts.append(made)
    assert torch.cat(parts, dim=1).shape == codec.decode(codes).shape
    if codec.kind != "dac":                                             # causal: the past does not change
        torch.testing.assert_close(torch.cat(parts, dim=1), codec.decode(codes), atol=1e-4, rtol=0)


@pytest.mark.parametrize("how", ["missing", "truncated", "smaller"])
def test_missing_or_damaged_weights_are_refused_in_one_line(tmp_path: Path, how: str) -> None:
    model = small("encodec")
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    if how == "missing":
        weights.unlink()
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        tensors.pop(sorted(tensors)[0])
        save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InputError) as caught:
        PretrainedCodec.load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="mimi, encodec, dac"):
        PretrainedCodec.load(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        PretrainedCodec.load(tmp_path / "nowhere")
