"""A third task beside the two of all trainings."""

from pathlib import Path

import numpy as np
import pytest

from omni.sequence import Segment, Sequence
from omni.train.data.shards import ShardWriter
from omni.vocab import Vocabulary

ROWS = 7                                                                # of three tasks: the first batch lacks one


@pytest.fixture
def three(recipe_file: Path, tmp_path: Path, vocab: Vocabulary) -> Path:
    """The recipe of two tasks with a third that answers with the question's first half."""
    rng = np.random.default_rng(1)
    with ShardWriter(tmp_path / "more/halve", vocab, "halve") as shard:
        for number in range(40):
            text = rng.integers(0, 50, rng.integers(6, 20))
            said = [Segment("text", text), Segment("text", text[: len(text) // 2], "assistant")]
            shard.add(Sequence.of(said, vocab), f"train/{number}")
    path = tmp_path / "three.yaml"
    text_of = recipe_file.read_text().replace("data: [", f"data: [{tmp_path}/more, ")
    path.write_text(text_of.replace("rows: 8", f"rows: {ROWS}"))
    return path
