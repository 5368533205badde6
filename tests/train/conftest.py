"""Two tiny tasks as real shards, in a training and a validation split; and prepared data with messages."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omni.sequence import Segment, Sequence
from omni.train.data.items import Item, Manifest, fingerprint
from omni.train.data.shards import ShardWriter
from omni.vocab import Vocabulary

VOCAB = Vocabulary(text=256, codebooks=1, codebook_size=20, image=10, picture_tokens=4)
RECIPE = """\
data: [{root}/train]
valid: [{root}/valid]
sequence_length: 64
model: {{preset: mini, d_model: 32, n_layers: 2, n_heads: 2, n_kv_heads: 2, d_ff: 48}}
schedule: {{steps: 6, warmup: 2}}
batch: {{rows: 8, micro: 2}}
validate: {{every: 3, rows: 2}}
"""


@pytest.fixture(scope="session")
def vocab() -> Vocabulary:
    return VOCAB


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("valid", 8)):
        for task in ("copy", "say"):
            with ShardWriter(root / split / task, VOCAB, task) as shard:
                for number in range(count):
                    shard.add(dialogue(task, rng.integers(0, 50, rng.integers(3, 20))), f"{split}/{number}")
    return root


@pytest.fixture(scope="session")
def recipe_text(shards: Path) -> str:
    return RECIPE.format(root=shards)


@pytest.fixture
def recipe_file(recipe_text: str, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text)
    return path


def dialogue(task: str, text: np.ndarray) -> Sequence:
    spoken = Segment("audio", (text % 20)[:, None], "assistant")
    answer = spoken if task == "say" else Segment("text", text, "assistant")
    return Sequence.of([Segment("text", text), answer], VOCAB)


@pytest.fixture(scope="session")
def messages(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared folder with its captions in ten languages, and 56 messages: all in English and French, few in
    Icelandic; the first 40 are trained on."""
    folder = tmp_path_factory.mktemp("messages") / "data"
    shutil.copytree(prepared, folder)
    further = ("de", "es", "it", "ru", "sv", "nl", "ca", "uk")          # so that captions outnumber drawings
    items = [replace(item, texts={**item.texts, **{code: f"{code} {item.id}" for code in further}})
             for item in Manifest.load(prepared)]  # fmt: skip
    for number in range(56):
        split = "train" if number < 40 else "valid" if number < 48 else "test"
        texts = {code: f"{code} {number} " * 20 for code in ("en", "fr", *(["is"] if number % 8 == 0 else []))}
        items.append(Item(f"catalogues/{number}", "catalogues", split, texts, {}, (), (), "", ""))
    (folder / "items.jsonl").write_text("".join(item.to_json() + "\n" for item in items), encoding="utf-8")
    about = json.loads((folder / "manifest.json").read_text())
    about["bytes"]["items.jsonl"] = (folder / "items.jsonl").stat().st_size
    about["checksums"]["items.jsonl"] = hashlib.sha256((folder / "items.jsonl").read_bytes()).hexdigest()
    about["fingerprint"] = fingerprint(about["checksums"])
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder
