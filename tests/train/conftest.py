"""Two tiny tasks as real shards, in a training and a validation split."""

from pathlib import Path

import numpy as np
import pytest

from omni.sequence import Segment, Sequence
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
