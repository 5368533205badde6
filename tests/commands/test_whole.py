"""From prepared data to a model, its report and an answer, through the commands a user types, at the smallest size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from omni.cli import main
from omni.commands.stages import first_look
from omni.safety.registry import suite
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.items import Manifest
from omni.train.data.shards import Shard
from omni.train.tasks.codes import Codes
from omni.train.tasks.templates import faces


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, prepared: Path, tokenizers: Path) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    words = ["data", "tokenize", "--data", prepared, "--tokenizers", tokenizers, "--out", folder]
    assert main([str(word) for word in words]) == 0
    return folder


def test_shards_hold_each_split_of_each_task_and_nothing_of_another(prepared: Path, shards: Path) -> None:
    splits = {item.id: item.split for item in Manifest.load(prepared).items}
    for split in ("train", "valid", "test"):
        tasks = {path.parent.name for path in (shards / split).glob("*/shard.json")}
        assert {"caption", "draw", "say", "transcribe", "translate", "interpret", "video"} <= tasks
        assert "prompts" not in tasks and "name_sound" not in tasks
        for task in tasks:
            shard = Shard.load(shards / split / task, verify=True)
            assert shard.task == task and {splits[item] for item in shard.items} == {split}


def test_every_sequence_is_one_face_given_and_one_wanted(shards: Path) -> None:
    shard = Shard.load(shards / "train" / "describe")
    for number in range(len(shard)):
        given, wanted = shard.sequence(number).segments(shard.vocab)
        assert (given.modality, given.role) == ("image", "user")
        assert (wanted.modality, wanted.role) == ("audio", "assistant") and wanted.language in ("en", "fr")


def test_codes_of_a_recording_in_a_batch_are_its_own(prepared: Path, tokenizers: Path, shards: Path) -> None:
    manifest, loaded = Manifest.load(prepared), Tokenizers.load(tokenizers)
    codes = Codes.of(manifest, loaded, ["stamps"], ["en", "fr"], shards / "codes")
    item = manifest.items[0]
    face = next(face for face in faces(item, ["fr"]) if face.kind == "speech")
    assert loaded.audio is not None
    with torch.inference_mode():
        alone = loaded.audio.encode(torch.from_numpy(manifest.wave(item.recordings[face.index]))[None])[0]
    assert np.array_equal(codes.segment(item, face, "user").codes, alone.numpy())


def test_an_unknown_language_is_one_line_and_code_2(
    prepared: Path, tokenizers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "tokenize", "--data", prepared, "--tokenizers", tokenizers, "--out", tmp_path / "x"]
    assert main([*map(str, words), "--languages", "en", "xx"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "omni: language 'xx' is not in the data; it has en, fr"
    assert not (tmp_path / "x" / "train").exists()


@pytest.mark.slow
def test_trained_evaluated_and_asked(
    prepared: Path, tokenizers: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    recipe = {
        "data": f"[{shards / 'train'}]", "valid": f"[{shards / 'valid'}]", "tokenizers": tokenizers,
        "schedule.steps": 6, "schedule.warmup": 1, "batch.rows": 2, "batch.micro": 1, "model.n_layers": 1,
        "model.d_model": 32, "model.n_heads": 2, "model.n_kv_heads": 2, "model.d_ff": 64, "validate.rows": 1,
    }  # fmt: skip
    flags = [word for key, value in recipe.items() for word in (f"--{key}", str(value))]
    assert main(["train", "mini", "--out", str(run), "--nproc", "1", *flags]) == 0
    assert main(["eval", "--run", str(run), "--data", str(prepared), "--shards", str(shards), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["caption_choice"]["n"] >= 8 and 0 <= figures["caption_choice"]["value"] <= 1
    assert figures["translate_loss_over_unigram"]["value"] > 0
    page = (run / "report.html").read_text()
    assert all(part in page for part in ("data:image/png", "data:audio/wav", "forced choice", "unigram loss"))
    out = tmp_path / "answer"
    asked = ["generate", "--model", run / "model", "--text", "number 3", "--want", "text,image", "--out", out]
    assert main([str(word) for word in asked]) == 0
    assert (out / "answer.txt").exists() and (out / "answer.png").exists()


def test_a_first_look_leaves_out_only_what_asks_many_times_whatever_the_limit() -> None:
    for name in ("capability", "safety"):
        left = {maker.__name__ for maker in suite(name)} - set(first_look(name))
        assert left == ({"jailbreaks", "jailbreaks_comply"} if name == "safety" else set())
