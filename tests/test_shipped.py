"""The model that comes with omni is whole, small, and made by the recipe that comes with omni."""

import re
from pathlib import Path

import numpy as np
import pytest

import omni
from omni.cli import main
from omni.model.folder import verify
from omni.model.shape import load_shape
from omni.shipped import shipped_model
from omni.train.data.shards import Shard
from omni.train.recipe import Recipe
from omni.train.rehearsal import fingerprint
from omni.vocab import Vocabulary

DOCS = Path(__file__).parents[1] / "docs"
MOST_BYTES = 60_000_000


def test_the_folder_is_whole_and_within_its_size() -> None:
    folder = shipped_model()
    verify(folder)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < MOST_BYTES
    for name in ("README.md", "ATTRIBUTION.md", "recipe.yaml", "tokenizers/audio/config.json"):
        assert (folder / name).is_file(), name


def test_the_card_names_the_recipes_that_made_it() -> None:
    folder = shipped_model()
    card = (folder / "README.md").read_text("utf-8")
    found = re.search(r"recipe: `recipe.yaml`, sha256 ([0-9a-f]{64})", card)
    made, here = Recipe.load(str(folder / "recipe.yaml")), Recipe.load("tiny-more")
    assert found and found[1] == fingerprint(made) == fingerprint(here)
    assert fingerprint(Recipe.load("tiny")) in card                     # of what it began with
    assert made == here and here.init == "runs/tiny/model"


def test_data_for_it_are_made_by_its_name(tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"text": "an owl"}\n{"text": "a bell"}\n')
    assert main(["data", "import", str(lines), "--model", "omni-tiny", "--out", str(tmp_path / "train")]) == 0
    lines.write_text('{"prompt": "is an owl a bird?", "chosen": "yes", "rejected": "no"}\n')
    assert main(["data", "pairs", str(lines), "--model", "omni-tiny", "--out", str(tmp_path / "pairs")]) == 0
    vocab = Vocabulary.load(shipped_model() / "vocab.json")
    assert [len(Shard.load(tmp_path / name, vocab)) for name in ("train/chat", "pairs")] == [2, 1]


def test_a_language_that_it_never_learnt_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--text", "Hello", "--max-tokens", "4", "--out", str(tmp_path / "answer")]
    assert main([*words, "--language", "sw"]) == 0
    assert "--language sw: the model never learnt it" in capsys.readouterr().err
    assert main([*words, "--language", "fr"]) == 0
    assert "never learnt" not in capsys.readouterr().err


def test_the_docs_know_its_size() -> None:
    shape, _ = load_shape(shipped_model())
    size = sum(shape.parameters().values()) / 1e6
    for page in ("omni-tiny.md", "studies/ablations.md"):
        assert f"{size:.1f} million" in (DOCS / page).read_text("utf-8"), page


def test_it_answers_in_writing_and_aloud_in_every_preset_voice() -> None:
    model = omni.load("omni-tiny")
    for voice in model.vocab.voices:
        answer = model(
            [omni.Text("What is three plus four?")], ["text", "audio"], language="en", voice=voice,
            sampler=omni.Sampler(temperature=0), max_seconds=2.0, max_tokens=16,
        )  # fmt: skip
        assert answer.text and answer.audio is not None and np.abs(answer.audio).max() > 0.01
