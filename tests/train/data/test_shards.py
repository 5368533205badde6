import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.errors import InputError
from omni.sequence import Sequence
from omni.train.data.shards import FILES, Shard, ShardWriter, find_shards
from omni.vocab import Vocabulary


def sequence(length: int, vocab: Vocabulary, seed: int) -> Sequence:
    rng = np.random.default_rng(seed)
    loss = rng.random(length) < 0.5
    loss[0] = False
    return Sequence(rng.integers(0, len(vocab), (length, vocab.channels)), loss, int(rng.integers(0, length)))


@settings(deadline=None, max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    channels=st.sampled_from([1, 3]),
    text=st.sampled_from([50, 70_000]),
)
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], channels: int, text: int
) -> None:
    layout = "flat" if channels == 1 else "delay"
    vocab = Vocabulary(text=text, codebooks=channels, codebook_size=9, image=5, picture_tokens=2, layout=layout)
    folder = tmp_path_factory.mktemp("shard") / "copy"
    written = [sequence(length, vocab, seed) for seed, length in enumerate(lengths)]
    with ShardWriter(folder, vocab, "copy") as shard:
        for number, one in enumerate(written):
            shard.add(one, f"item {number // 2}")
    read = Shard.load(folder, vocab, verify=True)
    assert (read.task, len(read)) == ("copy", len(written))
    for number, one in enumerate(written):
        again = read.sequence(number)
        assert np.array_equal(again.ids, one.ids) and np.array_equal(again.loss, one.loss)
        assert again.prefix == one.prefix
        assert read.items[read.index["item"][number]] == f"item {number // 2}"
    targets = np.concatenate([one.ids[one.loss] for one in written])
    counts = read.targets
    assert all((counts[c, value] == (targets[:, c] == value).sum()) for c in range(channels) for value in targets[:, c])
    assert counts.sum() == targets.size


def test_a_failed_writer_leaves_the_old_shard(tmp_path: Path, vocab: Vocabulary) -> None:
    with ShardWriter(tmp_path / "s", vocab, "copy") as shard:
        shard.add(sequence(5, vocab, 0), "old")
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "s", vocab, "copy") as shard:
        shard.add(sequence(9, vocab, 1), "new")
        raise RuntimeError("full disk")
    assert Shard.load(tmp_path / "s").items == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("name", FILES)
def test_damage_is_refused(tmp_path: Path, vocab: Vocabulary, name: str) -> None:
    with ShardWriter(tmp_path / "s", vocab, "copy") as shard:
        shard.add(sequence(30, vocab, 0), "a")
    path = tmp_path / "s" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=name):
        Shard.load(tmp_path / "s")
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    with pytest.raises(InputError, match=name):
        Shard.load(tmp_path / "s", verify=True)
    path.unlink()
    with pytest.raises(InputError, match="missing"):
        Shard.load(tmp_path / "s")


def test_an_edited_summary_is_refused(tmp_path: Path, vocab: Vocabulary) -> None:
    with ShardWriter(tmp_path / "s", vocab, "copy") as shard:
        shard.add(sequence(30, vocab, 0), "a")
    summary = json.loads((tmp_path / "s" / "shard.json").read_text())
    summary["files"]["loss.npy"]["sha256"] = "0" * 64
    (tmp_path / "s" / "shard.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="edited or damaged"):
        Shard.load(tmp_path / "s")


def test_another_vocabulary_is_named(shards: Path, vocab: Vocabulary) -> None:
    with pytest.raises(InputError, match="text differs"):
        Shard.load(shards / "train" / "copy", replace(vocab, text=51))


def test_bad_sequences_are_refused(tmp_path: Path, vocab: Vocabulary) -> None:
    good = sequence(5, vocab, 0)
    with pytest.raises(ValueError, match="ids must lie"), ShardWriter(tmp_path / "a", vocab, "copy") as shard:
        shard.add(replace(good, ids=good.ids + len(vocab)), "a")
    with pytest.raises(ValueError, match="first step"), ShardWriter(tmp_path / "b", vocab, "copy") as shard:
        shard.add(replace(good, loss=np.ones(5, bool)), "a")
    with pytest.raises(InputError, match="no sequence"), ShardWriter(tmp_path / "c", vocab, "copy"):
        pass
    assert not list(tmp_path.iterdir())


def test_shards_are_found_below_a_folder(shards: Path, tmp_path: Path) -> None:
    assert [path.name for path in find_shards([shards / "train"])] == ["copy", "say"]
    with pytest.raises(InputError, match="no shards"):
        find_shards([tmp_path])


def test_a_shard_is_found_once_by_whatever_names(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(shards / "train")
    found = find_shards([shards / "train", shards / "valid" / ".." / "train", tmp_path / "linked" / "copy"])
    assert found == [shards / "train" / "copy", shards / "train" / "say"]
