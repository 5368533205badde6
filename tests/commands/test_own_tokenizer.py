"""The codec in docs/tokenizers.md, installed as another package, from a folder to shards, a model and its answer."""

import base64
import importlib
import io
import re
import shutil
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from omni.cli import main
from omni.errors import InputError
from omni.tokenizers.bundle import Tokenizers, load_audio, load_image

DOCS = Path(__file__).parents[2] / "docs" / "tokenizers.md"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module and the entry point of the page, where Python looks for packages."""
    page = DOCS.read_text(encoding="utf-8").partition("## Your own tokenizer")[2]
    packages = tmp_path / "packages"
    about = packages / "frame_codec-1.0.dist-info"
    about.mkdir(parents=True)
    module, points = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("python", "toml"))
    assert module is not None and points is not None
    (packages / "frame_codec.py").write_text(module[1])
    group, _, lines = points[1].partition("\n")
    entries = f"{group.replace('project.entry-points.', '')}\n{lines}".replace('"', "")
    (about / "entry_points.txt").write_text(entries)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: frame_codec\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.delitem(sys.modules, "frame_codec", raising=False)
    return packages


@pytest.fixture
def folder(installed: Path, tokenizers: Path, tmp_path: Path) -> Path:
    """A folder of tokenizers whose codec is the page's."""
    shutil.copytree(tokenizers, folder := tmp_path / "tokenizers")
    shutil.rmtree(folder / "audio")
    table = 0.1 * torch.randn(32, 160, generator=torch.Generator().manual_seed(0))
    importlib.import_module("frame_codec").FrameCodec(table).save(folder / "audio")
    return folder


@pytest.mark.slow
def test_a_codec_of_ones_own_is_tokenized_with_trained_and_heard(prepared: Path, folder: Path, tmp_path: Path) -> None:
    shards, run, out = tmp_path / "shards", tmp_path / "run", tmp_path / "answer"
    words = ["data", "tokenize", "--data", prepared, "--tokenizers", folder, "--out", shards, "--workers", "1"]
    assert main([str(word) for word in words]) == 0
    recipe = {
        "data": f"[{shards / 'train'}]", "valid": f"[{shards / 'valid'}]", "tokenizers": folder,
        "schedule.steps": 2, "schedule.warmup": 1, "batch.rows": 2, "batch.micro": 1, "model.n_layers": 1,
        "model.d_model": 32, "model.n_heads": 2, "model.n_kv_heads": 2, "model.d_ff": 64, "validate.rows": 1,
    }  # fmt: skip
    flags = [word for key, value in recipe.items() for word in (f"--{key}", str(value))]
    assert main(["train", "mini", "--out", str(run), "--nproc", "1", *flags]) == 0
    assert main(["eval", "--run", str(run), "--data", str(prepared), "--shards", str(shards)]) == 0
    players = re.findall(r"data:audio/wav;base64,([^\"]*)", (run / "report.html").read_text())
    rates = [soundfile.info(io.BytesIO(base64.b64decode(player))).samplerate for player in players]
    assert set(rates) == {8000, 16000}                                  # what was said, what was recorded
    asked = ["generate", "--model", run / "model", "--text", "number 3", "--want", "audio", "--out", out]
    assert main([str(word) for word in asked]) == 0
    wave, rate = soundfile.read(out / "answer.wav")
    assert rate == 8000 and len(wave) and len(wave) % 160 == 0


def test_its_streams_are_its_whole(folder: Path) -> None:
    codec = Tokenizers.load(folder).audio
    assert codec is not None and Tokenizers.load(folder).fingerprint == Tokenizers.load(folder).fingerprint
    wave = 0.1 * torch.randn(2, 1000, generator=torch.Generator().manual_seed(1))
    state, codes = codec.start(2), []
    for chunk in wave.split(300, dim=1):
        found, state = codec.encode_stream(chunk, state)
        codes.append(found)
    codes.append(codec.encode_finish(state)[0])
    assert torch.equal(torch.cat(codes, dim=1), codec.encode(wave)) and codec.encode(wave).shape == (2, 7, 1)


def test_a_kind_that_nothing_loads_is_told_how_to_be_loaded(folder: Path) -> None:
    told = r"model_type 'bert', only .*frames.*entry point .*group omni.tokenizers"
    for part, load in (("audio", load_audio), ("image", load_image)):
        (folder / part / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(InputError, match=told) as caught:
            load(folder / part)
        assert "\n" not in str(caught.value)


def test_a_loader_that_is_not_there_and_half_a_face_are_named(installed: Path, folder: Path) -> None:
    points = installed / "frame_codec-1.0.dist-info" / "entry_points.txt"
    points.write_text("[omni.tokenizers]\nframes = nowhere:load\n")
    with pytest.raises(InputError, match="nowhere:load, the loader of frames, is not there"):
        load_audio(folder / "audio")
    points.write_text("[omni.tokenizers]\nframes = pathlib:Path\n")
    with pytest.raises(InputError, match=r"a frames tokenizer lacks sample_rate, .*, encode, .*decode_stream, save"):
        load_audio(folder / "audio")
