import json
from pathlib import Path

import numpy as np
import pytest

from omni.cli import main
from omni.commands.measuring import held_out_clips, manifest_pictures
from omni.train.data.items import Manifest

RATE = 16000


@pytest.fixture(scope="module")
def data(prepared: Path) -> Path:
    return prepared


def omni(*words: object) -> int:
    return main(["tokenizer", *map(str, words)])


def figures(printed: str) -> dict[str, dict[str, float]]:
    return json.loads(printed.splitlines()[-1])["figures"]


def test_text_is_trained_and_measured(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert omni("train", "text", "--data", data, "--out", tmp_path) == 0
    assert f"text tokenizer: {tmp_path / 'text'}" in capsys.readouterr().out
    assert omni("eval", "text", "--data", data, "--tokenizers", tmp_path, "--json") == 0
    assert figures(capsys.readouterr().out)["round_trip"]["value"] == 1
    assert (tmp_path / "text" / "eval.json").exists()


def test_languages_are_chosen(data: Path, tmp_path: Path) -> None:
    for name, words in (("all", ()), ("english", ("--languages", "en"))):
        assert omni("train", "text", "--data", data, "--out", tmp_path / name, *words) == 0
    merged = {name: (tmp_path / name / "text" / "text.json").read_text() for name in ("all", "english")}
    assert "numÃ©ro" in merged["all"]                                   # é as its two bytes
    assert "numÃ©ro" not in merged["english"]


def test_pictures_are_trained_and_measured(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ("train", "image", "--data", data, "--out", tmp_path, "--steps", 2)
    assert omni(*train) == 0
    stamp = (tmp_path / "image" / "model.safetensors").stat().st_mtime_ns
    assert omni(*train) == 0                                            # done already: nothing is trained again
    assert (tmp_path / "image" / "model.safetensors").stat().st_mtime_ns == stamp
    capsys.readouterr()
    assert omni("eval", "image", "--data", data, "--tokenizers", tmp_path, "--json") == 0
    found = figures(capsys.readouterr().out)
    assert {"psnr", "ssim", "retrieval_top1", "code_usage", "tokens_per_picture"} <= set(found)
    assert found["psnr"]["n"] == 4
    assert found["retrieval_chance"]["value"] == 1 / 8                  # four test pictures among four to train on
    assert (tmp_path / "image" / "reconstructions.png").exists()


@pytest.mark.slow
def test_audio_is_trained_and_measured(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert omni("train", "audio", "--data", data, "--out", tmp_path, "--steps", 1) == 0
    assert omni("eval", "audio", "--data", data, "--tokenizers", tmp_path, "--json") == 0
    found = figures(capsys.readouterr().out)
    assert {"stream_rtf", "bits_per_second", "wer_decoded_minus_original", "stoi", "dnsmos"} <= set(found)


def test_clips_are_held_out_with_english_first(data: Path) -> None:
    manifest = Manifest.load(data)
    clips = held_out_clips(manifest, most=6)
    assert [text for _, text in clips] == ["number 2", "number 5", "number 8", None, None, None]
    assert all(len(wave) == RATE and wave.dtype == np.float32 for wave, _ in clips)
    assert len(held_out_clips(manifest)) == 8
    assert manifest_pictures(manifest, "test")[:, 0, 0].tolist() == [
        manifest.picture(row)[0, 0].tolist() for row in (2, 5, 8, 11)
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("train", "text", "--data", "DATA", "--steps", "5"), "--steps: the text tokenizer"),
        (("train", "image", "--data", "DATA", "--minutes", "-1"), "--minutes: must be above 0"),
        (("train", "image", "--data", "DATA", "--minutes", "nan"), "--minutes: must be above 0"),
        (("train", "audio", "--data", "DATA", "--steps", "0"), "--steps: must be above 0"),
        (("train", "text", "--data", "DATA", "--languages", "xx"), "no training text in xx; the data have en, fr"),
        (("train", "image", "--data", "DATA", "--languages", "en"), "--languages: chooses the texts"),
        (("train", "image", "--data", "NONE"), "run `omni data prepare`"),
        (("eval", "image", "--data", "DATA", "--tokenizers", "NONE"), "run `omni tokenizer train image"),
        (("eval", "audio", "--data", "DATA", "--tokenizers", "NONE"), "run `omni tokenizer train audio"),
        (("eval", "text", "--data", "DATA", "--tokenizers", "NONE"), "run `omni tokenizer train text"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    words: tuple[str, ...], reason: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"DATA": str(data), "NONE": str(tmp_path / "none")}
    out = ["--out", str(tmp_path / "out")] if words[0] == "train" else []
    assert omni(*(places.get(word, word) for word in words), *out) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("omni: ")
    assert printed.err.count("\n") == 1
    assert reason in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_broken_tokenizer_is_one_line_and_code_2(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert omni("train", "image", "--data", data, "--out", tmp_path, "--steps", 1) == 0
    weights = tmp_path / "image" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    capsys.readouterr()
    assert omni("eval", "image", "--data", data, "--tokenizers", tmp_path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "damaged" in printed.err
    assert printed.err.count("\n") == 1
