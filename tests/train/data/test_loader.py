import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.train.data.loader import Dataset, GlobalBatch, Loader, Share
from omni.train.data.order import Order


@pytest.fixture(scope="module")
def data(shards: Path) -> Dataset:
    return Dataset.load([shards / "train"], 64)


def rows_of(batches: Iterable[GlobalBatch]) -> list[bytes]:
    """The rows of some batches, but for masked ones."""
    micros = [micro for batch in batches for micro in batch.micro]
    rows = [pair for micro in micros for pair in zip(micro.ids, micro.document, strict=True)]
    return [ids.numpy().tobytes() for ids, document in rows if document.any()]


def ranks_of(data: Dataset, order: Order, rows: int, micro: int, world: int, cursor: int) -> list[GlobalBatch]:
    return [Loader(data, order, Share(rows, micro, rank, world)).batch(cursor) for rank in range(world)]


def interleaved(ranks: list[GlobalBatch]) -> list[bytes]:
    """Row 0 of every rank, row 1 of every rank, .."""
    turns = itertools.zip_longest(*(rows_of([rank]) for rank in ranks))
    return [row for turn in turns for row in turn if row is not None]


@settings(deadline=None, max_examples=25)
@given(
    worlds=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    rows=st.integers(1, 13),
    micro=st.integers(1, 5),
    seed=st.integers(0, 3),
)
@example(worlds=[4, 3, 1, 2], rows=8, micro=2, seed=0)
def test_any_world_sizes_one_after_the_other_consume_what_one_process_does(
    data: Dataset, worlds: list[int], rows: int, micro: int, seed: int
) -> None:
    order = data.order(2.0, {}, seed)
    alone = list(itertools.islice(Loader(data, order, Share(rows, rows)), len(worlds)))
    for step, (world, whole) in enumerate(zip(worlds, alone, strict=True)):
        ranks = ranks_of(data, order, rows, micro, world, rows * step)
        assert interleaved(ranks) == rows_of([whole])                   # nothing lost, nothing repeated, in order
        assert {batch.trained for batch in ranks} == {whole.trained} == {int(whole.micro[0].loss.sum())}
        assert sum(batch.steps for batch in ranks) == whole.steps == int((whole.micro[0].document > 0).sum())
        shapes = {tuple(part.ids.shape for part in batch.micro) for batch in ranks}
        assert len(shapes) == 1                                         # every rank does equally much
        assert len(ranks[0].micro) == math.ceil(math.ceil(rows / world) / micro)
        for batch in ranks:
            for part, tasks in zip(batch.micro, batch.tasks, strict=True):
                assert len(part.ids) == len(tasks) <= micro
                assert not part.loss[~part.document.any(dim=1)].any()


@pytest.mark.parametrize(("rows", "micro", "world"), [(8, 2, 3), (3, 2, 5)])
def test_the_gradient_is_that_of_one_process(data: Dataset, rows: int, micro: int, world: int) -> None:
    torch.manual_seed(0)
    shape = ModelConfig(d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=48)
    model, order = OmniTransformer(shape.for_vocabulary(data.vocab)), data.order(1.0, {}, 0)
    gradients = []
    for count, size in ((1, rows), (world, micro)):
        model.zero_grad()
        for batch in ranks_of(data, order, rows, size, count, 16):
            for part in batch.micro:
                (model(part).total / batch.trained).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


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
