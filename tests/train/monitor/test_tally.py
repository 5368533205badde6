"""The unigram loss against a brute-force count."""

import math
from pathlib import Path

import numpy as np
import pytest

from omni.sequence import Sequence
from omni.train.data.loader import Dataset
from omni.train.data.shards import ShardWriter
from omni.train.monitor.tally import SMOOTHING, unigram_losses
from omni.vocab import Vocabulary


def write(folder: Path, vocab: Vocabulary, ids: list[int]) -> None:
    stream = np.array([0, *ids])[:, None]                               # [steps, 1]
    with ShardWriter(folder, vocab, "copy") as shard:
        shard.add(Sequence(stream, np.arange(len(stream)) > 0, 0), "item")


def test_unigram_loss_is_that_of_training_frequencies(tmp_path: Path) -> None:
    vocab = Vocabulary(text=20, codebooks=1, codebook_size=9, image=5, picture_tokens=2)
    trained, asked = [3, 3, 3, 4, 5], [3, 4, 6]
    write(tmp_path / "train", vocab, trained)
    write(tmp_path / "valid", vocab, asked)
    data, valid = (Dataset.load([tmp_path / name], 16) for name in ("train", "valid"))

    def loss(constant: float) -> float:
        total = len(trained) + constant * len(vocab)
        return -sum(math.log((trained.count(one) + constant) / total) for one in asked) / len(asked)

    assert unigram_losses(data, valid)["copy"] == pytest.approx(min(map(loss, SMOOTHING)))
