import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import omni
from omni.cli import main
from omni.tokenizers.text import TextTokenizer
from omni.vocab import LAYOUTS, Vocabulary

Model = Callable[[str], Path]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_mix_goes_in_and_text_sound_and_a_picture_come_out(
    layout: str, models: Model, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = files / "answer"
    given = ["--image", str(files / "p.png"), "--audio", str(files / "q.wav"), "--video", str(files / "v.gif")]
    asked = ["--text", "<bos></audio> what?", "--want", "audio,text,image", "--language", "fr", "--voice", "anna"]
    limits = ["--max-seconds", "0.4", "--max-tokens", "9", "--model", str(models(layout)), "--out", str(out)]
    assert main(["generate", *given, *asked, *limits]) == 0
    text = (out / "answer.txt").read_text("utf-8")
    wave, rate = soundfile.read(out / "answer.wav")
    answer = json.loads((out / "answer.json").read_text("utf-8"))
    assert rate == 16000 and 320 <= len(wave) <= 0.4 * rate and answer["seconds"] == round(len(wave) / rate, 3)
    assert Image.open(out / "answer.png").size == (64, 64)
    assert answer["text"] + "\n" == text and answer["want"] == ["audio", "text", "image"]
    assert [part["modality"] for part in answer["asked"]] == ["image", "audio", "video", "text"]
    printed = capsys.readouterr().out
    assert text.strip("\n") in printed and str(out / "answer.wav") in printed


def test_the_same_seed_gives_the_same_answer_and_greedy_needs_none(models: Model, files: Path) -> None:
    def said(*flags: str) -> str:
        common = ["--text", "hello", "--model", str(models("flat")), "--out", str(files), "--max-tokens", "30"]
        assert main(["generate", *common, *flags]) == 0
        return (files / "answer.txt").read_text("utf-8")

    assert said("--seed", "1") == said("--seed", "1") != said("--seed", "2")
    assert said("--temperature", "0", "--seed", "1") == said("--top-k", "1", "--seed", "2")


def test_five_lines_of_python_do_the_same(models: Model, files: Path) -> None:
    model = omni.load(models("delay"))
    answer = model([omni.Picture(files / "p.png"), omni.Text("What is this?")], want=["text", "audio"], language="en",
                   max_tokens=9, max_seconds=0.2)  # fmt: skip
    assert answer.text is not None and answer.image is None
    assert answer.audio is not None and answer.sample_rate == 16000
    assert {path.name for path in answer.save(files / "out")} == {"answer.txt", "answer.wav", "answer.json"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_while_it_speaks_add_up_to_the_answer(layout: str, models: Model, files: Path) -> None:
    model = omni.load(models(layout))
    parts = [omni.Audio(np.zeros(4000, np.float32), 8000), omni.Text("é")]
    want = ["text", "audio", "image"]
    whole = model(parts, want, seed=3, max_tokens=40, max_seconds=0.3)
    pieces = list(model.stream(parts, want, seed=3, max_tokens=40, max_seconds=0.3))
    assert "".join(piece.text or "" for piece in pieces) == whole.text
    sound = [piece.audio for piece in pieces if piece.audio is not None]
    assert whole.audio is not None and all(len(chunk) == 320 for chunk in sound)
    np.testing.assert_allclose(np.concatenate(sound), whole.audio, atol=1e-4)
    (picture,) = [piece.image for piece in pieces if piece.image is not None]
    assert whole.image is not None and (picture == whole.image).all()


def test_a_batch_answers_like_one_by_one_and_likelihoods_choose(models: Model) -> None:
    model = omni.load(models("flat"))
    asked = [[omni.Text(text)] for text in ("a", "a much longer question", "")]
    greedy = omni.Sampler(temperature=0)
    together = model.batch(asked, ["text"], sampler=greedy, max_tokens=12)
    assert [answer.text for answer in together] == [
        model(parts, ["text"], sampler=greedy, max_tokens=12).text for parts in asked
    ]
    scores = model.score(asked[0], [omni.Text("owl"), omni.Text("an owl and a bell")], language="en")
    assert scores.shape == (2,) and scores[0] > scores[1]               # at random weights, shorter is likelier


def write_bad(files: Path) -> None:
    (files / "empty.wav").touch()
    (files / "words.wav").write_text("not a sound")
    soundfile.write(files / "silent.wav", np.zeros(0), 16000)
    soundfile.write(files / "nan.wav", np.full(100, np.nan, np.float32), 16000, subtype="FLOAT")
    header = bytearray((files / "q.wav").read_bytes())                  # three hours, says the header alone
    header[40:44] = (3 * 3600 * 32000).to_bytes(4, "little")
    with (files / "hours.wav").open("wb") as file:
        file.write(header)
        file.truncate(3 * 3600 * 32000 + 44)                            # a sparse file: nothing is written
    Image.new("1", (50_000, 10)).save(files / "wide.png")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--audio", "{}/none.wav"], "none.wav: no such file"),
        (["--audio", "{}/words.wav"], "words.wav: not audio"),
        (["--audio", "{}/empty.wav"], "empty.wav"),
        (["--audio", "{}/silent.wav"], "silent.wav: empty audio"),
        (["--audio", "{}/nan.wav"], "nan.wav: 100 samples are NaN"),
        (["--audio", "{}/hours.wav"], "hours.wav: 3.0 hours of audio; cut it"),
        (["--image", "{}/wide.png"], "wide.png: 50,000 x 10 pixels is too large; scale it"),
        (["--image", "{}/none.png"], "none.png: no such file"),
        (["--image", "{}/q.wav"], "q.wav: not a picture"),
        (["--video", "{}/none.gif"], "none.gif"),
        (["--text", "x", "--language", "tlh"], "the vocabulary has no <2tlh>; its languages are en, fr"),
        (["--text", "x", "--want", "audio", "--voice", "bob"], "its voices are anna"),
        (["--text", "x", "--want", "text,smell"], "want=text,smell: must be one or more of text, audio, image"),
        (["--text", "x", "--want", "text,text"], "each once"),
        (["--text", "x" * 900], "the prompt takes"),
        (["--text", "x", "--temperature", "-1"], "temperature=-1.0: must be 0"),
        (["--text", "x", "--max-seconds", "0"], "must be positive"),
        ([], "nothing to answer; give --text"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(
    flags: list[str], line: str, models: Model, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_bad(files)
    flags = [flag.format(files) for flag in flags]
    assert main(["generate", *flags, "--model", str(models("flat")), "--out", str(files / "out")]) == 2
    error = capfd.readouterr().err
    assert error.startswith("omni: ") and error.count("\n") == 1 and line in error
    assert not (files / "out").exists()                                 # nothing half-written


def damage(model: Path, how: str) -> str:
    """Break a model folder; returns what the error must say."""
    if how == "truncated":
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        return "model.safetensors: damaged or truncated"
    if how == "other tokenizers":
        TextTokenizer.train(["quite another language"], 260).save(model / "tokenizers" / "text")
        return "use the tokenizers folder that was saved with the model"
    if how == "no tokenizers":
        (model / "tokenizers").rename(model / "elsewhere")
        return "no tokenizers there"
    other = Vocabulary(text=261, codebooks=2, codebook_size=16, image=16, picture_tokens=4)
    other.save(model / "vocab.json")
    return "vocab.json"


@pytest.mark.parametrize("how", ["truncated", "other tokenizers", "no tokenizers", "other vocabulary"])
def test_a_model_folder_that_does_not_fit_is_refused(
    how: str, models: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models("flat"), tmp_path / "model")
    line = damage(tmp_path / "model", how)
    assert main(["generate", "--text", "x", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert error.startswith("omni: ") and error.count("\n") == 1 and line in error
    assert not (tmp_path / "out").exists()


def test_without_a_model_the_one_that_comes_with_omni_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "--text", "seven", "--language", "fr", "--out", "out"]) == 0
    assert (tmp_path / "out" / "answer.json").is_file()


def test_each_modality_can_be_drawn_in_its_own_way(models: Model) -> None:
    model, given = omni.load(models("delay")), [omni.Text("A red square.")]
    greedy, warm = omni.Sampler(temperature=0), omni.Sampler(temperature=1.0)
    how = {"text": greedy, "audio": warm}
    mixed = [model(given, ["text", "audio"], sampler=how, seed=seed, max_tokens=8, max_seconds=0.5) for seed in (1, 2)]
    certain = model(given, ["text"], sampler=greedy, max_tokens=8)
    assert mixed[0].text == mixed[1].text == certain.text
    assert mixed[0].audio is not None and not np.array_equal(mixed[0].audio, mixed[1].audio)
