from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.errors import InputError
from omni.train.data.order import BLOCK, Order, Staged, permute, quotas, unimax

ROWS = {"a": 5, "b": 300, "c": 7000}


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.integers(1, 10**7), min_size=2, max_size=2, unique=True), share=st.floats(0.01, 0.99)
)
def test_at_an_infinite_temperature_shares_are_the_weights(counts: list[int], share: float) -> None:
    """Exactly, whatever the rows; at any other the rows count, too."""
    rows = dict(zip("ab", counts, strict=True))
    units = quotas(rows, float("inf"), {"a": share, "b": 1 - share})
    assert abs(units[0] - share * BLOCK) <= 0.5
    assert quotas(rows, float("inf"), {"a": 1.0, "b": 0.0}).tolist() == [BLOCK, 0]


@given(size=st.integers(1, 3000), key=st.integers(0, 2**63))
def test_permute_is_a_permutation(size: int, key: int) -> None:
    out = permute(np.arange(size), np.full(size, size), np.full(size, key, dtype=np.uint64))
    assert np.array_equal(np.sort(out), np.arange(size))


def test_permute_mixes() -> None:
    out = permute(np.arange(1000), np.full(1000, 1000), np.full(1000, 7, dtype=np.uint64))
    assert abs(np.corrcoef(np.arange(1000), out)[0, 1]) < 0.1


@given(
    counts=st.lists(st.integers(1, 10**7), min_size=1, max_size=60), temperature=st.floats(0.5, 10, allow_nan=False)
)
def test_quotas_fill_a_block_in_proportion(counts: list[int], temperature: float) -> None:
    units = quotas({str(i): count for i, count in enumerate(counts)}, temperature)
    share = np.array(counts) ** (1 / temperature)
    assert units.sum() == BLOCK and (units >= 1).all()
    raised = (share / share.sum() * BLOCK < 1).sum()
    assert (np.abs(units - share / share.sum() * BLOCK) <= 1 + raised).all()


def test_weights_scale_and_leave_out() -> None:
    units = quotas({"a": 10, "b": 10, "c": 10}, 1.0, {"a": 2.0, "c": 0.0})
    assert units.tolist() == [683, 341, 0]
    with pytest.raises(InputError, match=r"mixture.weights: no task 'd'"):
        quotas({"a": 1}, 1.0, {"d": 1.0})
    with pytest.raises(InputError, match="0 tasks"):
        quotas({"a": 1}, 1.0, {"a": 0.0})


@given(
    rows=st.lists(st.integers(1, 10**5), min_size=1, max_size=12), budget=st.integers(1, 10**6),
    epochs=st.floats(0.1, 20),
)  # fmt: skip
def test_unimax_fills_up_to_one_level(rows: list[int], budget: int, epochs: float) -> None:
    """The closed form: each task gives min(level, epochs * rows), with the level at which the sum is the budget."""
    found, caps = unimax(np.array(rows), budget, epochs), epochs * np.array(rows)
    assert found.sum() == pytest.approx(min(budget, caps.sum()))
    assert (found <= caps * (1 + 1e-9)).all()
    np.testing.assert_allclose(found, np.minimum(found.max(), caps), rtol=1e-6)


def test_unimax_in_a_mixture() -> None:
    rows = {"fr": 10_000, "is": 100, "de": 5_000, "out": 9}
    units = quotas(rows, 1.0, {"out": 0.0}, max_epochs=8.0, budget=8192)
    assert units.tolist() == [462, 100, 462, 0]                         # 8 epochs of is in 8 blocks; equal parts
    for wrong in ({"temperature": 2.0, "max_epochs": 1.0}, {"max_epochs": -1.0}, {"max_epochs": float("nan")}):
        with pytest.raises(InputError, match=r"mixture\.max_epochs"):
            quotas(rows, **wrong, budget=100)


@pytest.mark.parametrize(("temperature", "weight"), [(float("nan"), 1.0), (1e-3, 1.0), (1.0, 1e308)])
def test_shares_that_are_no_numbers_are_refused(temperature: float, weight: float) -> None:
    with pytest.raises(InputError, match="mixture"):
        quotas({"a": 10, "b": 20}, temperature, {"a": weight, "b": weight})


def test_every_row_comes_once_an_epoch() -> None:
    order = Order.of(list(ROWS.values()), quotas(ROWS, 2.0), seed=3)
    blocks = 40
    task, row = order.at(np.arange(blocks * BLOCK))
    for number, size in enumerate(ROWS.values()):
        drawn = Counter(row[task == number].tolist())
        epochs, rest = divmod(blocks * order.quotas[number], size)
        assert sum(drawn.values()) == blocks * order.quotas[number]
        assert set(drawn.values()) <= {epochs, epochs + 1} and set(drawn) <= set(range(size))
        assert sum(count == epochs + 1 for count in drawn.values()) == rest


def test_every_block_has_the_quotas_in_another_arrangement() -> None:
    order = Order.of(list(ROWS.values()), quotas(ROWS, 2.0), seed=3)
    task = order.at(np.arange(3 * BLOCK))[0].reshape(3, BLOCK)
    assert all(np.bincount(block, minlength=3).tolist() == list(order.quotas) for block in task)
    assert not np.array_equal(task[0], task[1])


@given(start=st.integers(0, 10**12), count=st.integers(1, 50))
def test_a_row_does_not_depend_on_what_was_asked_before(start: int, count: int) -> None:
    order = Order.of(list(ROWS.values()), quotas(ROWS, 2.0), seed=3)
    together = np.stack(order.at(np.arange(start, start + count)))
    alone = np.concatenate([np.stack(order.at(np.array([index]))) for index in range(start, start + count)], axis=1)
    assert np.array_equal(together, alone)


def test_seeds_differ() -> None:
    units = quotas({"a": 50, "b": 70})
    first, second = (np.stack(Order.of([50, 70], units, seed).at(np.arange(200))) for seed in (0, 1))
    assert not np.array_equal(first, second)


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 2500), min_size=1, max_size=4),
    weights=st.lists(st.tuples(st.floats(0.1, 4), st.floats(0.1, 4)), min_size=4, max_size=4),
    seed=st.integers(0, 99),
)
def test_over_stages_no_row_comes_again_before_all_others_have(
    lengths: list[int], weights: list[tuple[float, float]], seed: int
) -> None:
    mixed = [quotas(ROWS, 2.0, {"a": a, "c": c}) for a, c in weights]
    staged = Staged.of(list(ROWS.values()), list(zip(lengths, mixed, strict=False)), seed)
    total = sum(lengths) + 500
    task, row = staged.at(np.arange(total))
    for number, size in enumerate(ROWS.values()):
        drawn = row[task == number]
        for epoch in range(0, len(drawn), size):
            assert len(set(drawn[epoch : epoch + size].tolist())) == len(drawn[epoch : epoch + size])
    for consumed in (0, lengths[0] - 1, lengths[0], total):
        assert staged.given(consumed).tolist() == np.bincount(task[:consumed], minlength=len(ROWS)).tolist()
    some = np.random.default_rng(seed).integers(0, total, 50)           # any row, without those before it
    assert np.array_equal(staged.at(some)[0], task[some]) and np.array_equal(staged.at(some)[1], row[some])
