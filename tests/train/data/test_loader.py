import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.errors import InputError
from omni.train.data.loader import Dataset, GlobalBatch, Loader, Share


@pytest.fixture(scope="module")
def data(shards: Path) -> Dataset:
    return Dataset.load([shards / "train"], 64)


def rows_of(batches: list[GlobalBatch]) -> list[bytes]:
    return [row.numpy().tobytes() for batch in batches for micro in batch.micro for row in micro.ids]


@settings(deadline=None, max_examples=15)
@given(world=st.sampled_from([1, 2, 3, 4, 6]), micro=st.sampled_from([1, 2]), seed=st.integers(0, 3))
def test_any_world_size_consumes_the_same_rows(data: Dataset, world: int, micro: int, seed: int) -> None:
    order = data.order(2.0, {}, seed)
    alone = Loader(data, order, Share(24, 24)).batch(48)
    ranks = [Loader(data, order, Share(24, micro, rank, world)).batch(48) for rank in range(world)]
    interleaved = [row for turn in zip(*(rows_of([rank]) for rank in ranks), strict=True) for row in turn]
    assert interleaved == rows_of([alone])
    assert {batch.trained for batch in ranks} == {alone.trained} == {int(alone.micro[0].loss.sum())}
    assert sum(batch.steps for batch in ranks) == alone.steps == int((alone.micro[0].document > 0).sum())


def test_a_resumed_loader_goes_on_where_the_first_stopped(data: Dataset) -> None:
    order = data.order(1.0, {}, 0)
    whole = list(itertools.islice(Loader(data, order, Share(8, 4)), 5))
    later = list(itertools.islice(Loader(data, order, Share(8, 4), cursor=16), 3))
    assert rows_of(whole[2:]) == rows_of(later)


def test_rows_belong_to_the_named_task(data: Dataset) -> None:
    batch = Loader(data, data.order(1.0, {}, 0), Share(16, 16)).batch(0)
    audio = data.vocab["audio"]
    for ids, task in zip(batch.micro[0].ids, batch.tasks[0], strict=True):
        assert bool(audio.holds(ids).any()) == (data.tasks[task] == "say")


def test_an_error_in_the_background_reaches_the_caller(data: Dataset) -> None:
    loader = Loader(data, data.order(1.0, {}, 0), Share(8, 4))
    loader.share = Share(8, 4)
    loader.order = type(loader.order)(rows=(10_000, 10_000), quotas=loader.order.quotas, seed=0)
    with pytest.raises(IndexError, match="no such row"):
        list(itertools.islice(loader, 50))


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch.rows: 10 is not a multiple of batch.micro=4 times 1"):
        Share(10, 4)


def test_the_fingerprint_tells_data_apart(shards: Path, data: Dataset) -> None:
    assert Dataset.load([shards / "train"], 64).fingerprint == data.fingerprint
    assert Dataset.load([shards / "train"], 128).fingerprint != data.fingerprint
    assert Dataset.load([shards / "train" / "say"], 64).fingerprint != data.fingerprint
    assert torch.tensor(list(data.rows.values())).sum() == sum(map(len, data.parts))
    assert np.isclose(data.order(1.0, {}, 0).epochs(1024).sum(), sum(q / r for q, r in zip(
        data.order(1.0, {}, 0).quotas, data.rows.values(), strict=True)))  # fmt: skip


def test_everything_trains_all_but_the_first_step_of_a_sequence(shards: Path) -> None:
    data = Dataset.load([shards / "train"], 64, everything=True)
    batch = Loader(data, data.order(1.0, {}, 0), Share(16, 16)).batch(0)
    micro = batch.micro[0]
    first = torch.diff(micro.document, dim=1, prepend=torch.zeros(16, 1, dtype=torch.long)) != 0
    assert torch.equal(micro.loss, (micro.document > 0) & ~first)
    assert batch.trained == int(micro.loss.sum())
