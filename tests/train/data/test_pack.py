import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.train.data.pack import Packed, batch_of
from omni.train.data.shards import Shard
from omni.vocab import Vocabulary


def test_rows_hold_the_sequences_in_full(shards: Path) -> None:
    shard = Shard.load(shards / "train" / "copy")
    packed = Packed.of(shard, 64)
    seen = []
    for number in range(len(packed)):
        ids, loss, document, prefix = packed.row(number)
        assert packed.trained[number] == loss.sum()
        for count, index in enumerate(packed.order[packed.starts[number] : packed.starts[number + 1]], start=1):
            here, sequence = document == count, shard.sequence(int(index))
            assert np.array_equal(ids[here], sequence.ids) and np.array_equal(loss[here], sequence.loss)
            assert prefix[here].sum() == sequence.prefix
            seen.append(int(index))
        assert not loss[document == 0].any()
    assert sorted(seen) == list(range(len(shard)))
    assert packed.used > 0.8


def test_the_cached_packing_is_the_same(shards: Path) -> None:
    shard = Shard.load(shards / "train" / "say")
    first, again = Packed.of(shard, 48), Packed.of(shard, 48)
    (folder,) = shard.folder.glob("pack-*-48-*")
    assert np.array_equal(first.order, again.order) and np.array_equal(first.starts, again.starts)
    assert np.array_equal(first.trained, again.trained)
    (folder / "starts.npy").unlink()                                    # a damaged one is made anew
    (folder / "starts.npy").write_bytes(b"\x93NUMPY")
    assert np.array_equal(Packed.of(shard, 48).starts, first.starts)
    assert np.array_equal(np.load(folder / "starts.npy"), first.starts)


@pytest.mark.parametrize("name", ["index.npy", "tokens.npy", "loss.npy"])
def test_a_damaged_shard_is_not_packed(shards: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shards / "train" / "copy", folder, ignore=shutil.ignore_patterns("pack-*"))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + bytes(255 - byte for byte in content[-2:]))
    with pytest.raises(InputError, match=f"{name}: damaged"):
        Packed.of(Shard.load(folder), 64)


def test_too_long_sequences(shards: Path) -> None:
    shard = Shard.load(shards / "train" / "copy")
    longest = int(shard.index["length"].max())
    with pytest.raises(InputError, match=f"longest has {longest} steps.*too_long: drop"):
        Packed.of(shard, longest - 1)
    packed = Packed.of(shard, longest - 1, "drop")
    assert packed.dropped == (shard.index["length"] == longest).sum()
    assert len(packed.order) + packed.dropped == len(shard)
    with pytest.raises(InputError, match="every sequence"):
        Packed.of(shard, 3, "drop")


def test_packed_loss_is_the_loss_of_each_sequence_alone(shards: Path, vocab: Vocabulary) -> None:
    torch.manual_seed(0)
    shape = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48)
    model = OmniTransformer(shape.for_vocabulary(vocab))
    shard = Shard.load(shards / "train" / "say")
    together, count = Packed.of(shard, 64), len(shard)
    alone = replace(
        together, order=np.arange(count), starts=np.arange(count + 1), trained=np.asarray(shard.index["trained"])
    )
    whole = model(batch_of((together, number) for number in range(len(together)))).total
    single = [model(batch_of([(alone, number)])).total for number in range(count)]
    torch.testing.assert_close(whole, torch.stack(single).sum())
