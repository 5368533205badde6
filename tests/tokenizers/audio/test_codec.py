import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omni.errors import InputError
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig

TINY = CodecConfig(levels=(5, 4), codebooks=2, d_model=16, d_hop=8, encoder_layers=2, decoder_layers=2)


def codec_of(config: CodecConfig = TINY) -> Codec:
    torch.manual_seed(0)
    return Codec(config).eval()


def sound(samples: int, batch: int = 1, seed: int = 0) -> Tensor:
    noise = torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))
    return 0.3 * noise * torch.linspace(0, 9, samples).sin()


def streamed(codec: Codec, wave: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    state, codes, waves = codec.start(wave.shape[0]), [], []
    for chunk in [*wave.split(lengths, dim=1), None]:
        part, state = codec.encode_finish(state) if chunk is None else codec.encode_stream(chunk, state)
        made, state = codec.decode_stream(part, state)
        codes.append(part)
        waves.append(made)
    return torch.cat(codes, dim=1), torch.cat(waves, dim=1)


@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=6),
    rate=st.sampled_from([50.0, 25.0, 12.5]),
    batch=st.integers(1, 2),
)
def test_any_chunking_equals_the_whole_file(lengths: list[int], rate: float, batch: int) -> None:
    codec = codec_of(replace(TINY, frame_rate=rate))
    wave = sound(sum(lengths), batch)
    codes, made = streamed(codec, wave, lengths)
    assert torch.equal(codes, codec.encode(wave))
    torch.testing.assert_close(made, codec.decode(codes), atol=1e-4, rtol=0)
    assert codes.shape == (batch, -(-sum(lengths) // codec.samples_per_frame), 2)
    assert made.shape == (batch, codes.shape[1] * codec.samples_per_frame)


def test_a_long_stream_does_not_drift_from_the_whole_file() -> None:
    codec = codec_of()
    codes = torch.randint(20, (1, 1500, 2), generator=torch.Generator().manual_seed(0))  # 30 s
    state, parts = codec.start(1), []
    for part in codes.split(19, dim=1):
        wave, state = codec.decode_stream(part, state)
        parts.append(wave)
    torch.testing.assert_close(torch.cat(parts, dim=1), codec.decode(codes), atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=8)
@given(cut=st.integers(1, 7000), seed=st.integers(0, 9))
def test_codes_do_not_depend_on_what_comes_after_the_lookahead(cut: int, seed: int) -> None:
    codec = codec_of()
    wave, other = sound(8000), sound(8000, seed=seed + 1)
    changed = torch.cat((wave[:, :cut], other[:, cut:]), dim=1)
    certain = max(0, cut - codec.lookahead) // codec.samples_per_frame
    assert torch.equal(codec.encode(wave)[:, :certain], codec.encode(changed)[:, :certain])


@settings(deadline=None, max_examples=8)
@given(cut=st.integers(0, 25), seed=st.integers(0, 9))
def test_samples_do_not_depend_on_later_codes(cut: int, seed: int) -> None:
    codec = codec_of()
    chance = torch.Generator().manual_seed(seed)
    codes, other = (torch.randint(20, (1, 25, 2), generator=chance) for _ in range(2))
    changed = torch.cat((codes[:, :cut], other[:, cut:]), dim=1)
    done = cut * codec.samples_per_frame
    torch.testing.assert_close(codec.decode(codes)[:, :done], codec.decode(changed)[:, :done], atol=1e-6, rtol=0)


def test_streams_of_one_module_do_not_touch_each_other() -> None:
    codec = codec_of()
    first, second = sound(4000, seed=1), sound(4000, seed=2)
    a, b = codec.start(1), codec.start(1)
    got_a, got_b = [], []
    for one, two in zip(first.split(700, dim=1), second.split(700, dim=1), strict=True):
        codes, a = codec.encode_stream(one, a)
        got_a.append(codes)
        codes, b = codec.encode_stream(two, b)
        got_b.append(codes)
    for wave, got in ((first, got_a), (second, got_b)):
        codes = torch.cat(got, dim=1)
        assert torch.equal(codes, codec.encode(wave)[:, : codes.shape[1]])


def test_saved_and_loaded_is_the_same_codec(tmp_path: Path) -> None:
    codec = codec_of()
    codec.save(tmp_path)
    again = Codec.load(tmp_path)
    assert again.config == codec.config and again.fingerprint == codec.fingerprint
    codes = codec.encode(sound(3000))
    assert torch.equal(again.encode(sound(3000)), codes)
    assert torch.equal(again.decode(codes), codec.decode(codes))
    assert codec_of(replace(TINY, kernel=4)).fingerprint != codec.fingerprint


def damaged(folder: Path, name: str, how: str) -> None:
    path = folder / name
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        path.write_bytes(data[:-40] + bytes(255 - byte for byte in data[-40:]))
    else:
        path.write_text(how)


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped", "not a tensor file"])
def test_damaged_weights_are_refused_in_one_line(tmp_path: Path, how: str) -> None:
    codec_of().save(tmp_path)
    damaged(tmp_path, "model.safetensors", how)
    with pytest.raises(InputError) as caught:
        Codec.load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["missing", "truncated", "[]", '{"kind": "omni-codec", "levels": [4]}', "{}"])
def test_a_foreign_config_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    codec_of().save(tmp_path)
    damaged(tmp_path, "config.json", how)
    with pytest.raises(InputError) as caught:
        Codec.load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_another_codec_are_refused(tmp_path: Path) -> None:
    codec_of().save(tmp_path / "a")
    torch.manual_seed(1)
    Codec(TINY).save(tmp_path / "b")
    (tmp_path / "b" / "model.safetensors").rename(tmp_path / "a" / "model.safetensors")
    with pytest.raises(InputError, match="checksum"):
        Codec.load(tmp_path / "a")
    other = json.loads((tmp_path / "b" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps({**other, "d_model": 24}))
    with pytest.raises(InputError, match="not of this config"):
        Codec.load(tmp_path / "a")


@pytest.mark.parametrize("changes", [{"frame_rate": 44.0}, {"levels": (1, 5)}, {"codebooks": 0}, {"hop": 400}])
def test_a_shape_that_cannot_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="codec config"):
        replace(TINY, **changes)  # type: ignore[arg-type]


def test_audio_that_cannot_be_coded_is_refused() -> None:
    codec = codec_of()
    with pytest.raises(InputError, match="empty"):
        codec.encode(torch.zeros(1, 0))
    with pytest.raises(InputError, match="NaN"):
        codec.encode(torch.full((1, 100), float("nan")))
    with pytest.raises(ValueError, match="batch, samples"):
        codec.encode(torch.zeros(100))
    with pytest.raises(ValueError, match=r"0\.\.19"):
        codec.decode(torch.full((1, 3, 2), 20))
    with pytest.raises(ValueError, match="frames, 2"):
        codec.decode(torch.zeros(1, 3, 1, dtype=torch.long))


def test_presets_have_one_small_codebook() -> None:
    for name in ("quick", "base"):
        config = CodecConfig.preset(name)
        codec = Codec(config)
        assert codec.codebooks == 1 and codec.codebook_size <= 4096 and codec.frame_rate <= 50
    tiny = Codec(CodecConfig.preset("tiny"))
    assert (tiny.codebooks, tiny.codebook_size, tiny.frame_rate) == (4, 1000, 25)
    with pytest.raises(InputError, match="use quick, tiny, base"):
        CodecConfig.preset("huge")
