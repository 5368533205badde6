import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.eval.inspected.batching import Batcher


@given(st.lists(st.tuples(st.integers(0, 2), st.integers()), max_size=40), st.integers(1, 5))
def test_each_gets_its_own_answer_in_batches_of_one_key(asked: list[tuple[int, int]], rows: int) -> None:
    batches: list[tuple[object, list[int]]] = []

    def answer(key: object, some: list[int]) -> list[tuple[object, int]]:
        batches.append((key, list(some)))
        return [(key, one) for one in some]

    batcher = Batcher[int, tuple[object, int]](answer, rows)
    futures = [batcher.submit(key, one) for key, one in asked]
    assert [future.result(10) for future in futures] == asked
    batcher.close()
    assert all(len(some) <= rows for _, some in batches) and sum(len(some) for _, some in batches) == len(asked)
    for key in range(3):
        assert [one for of, some in batches if of == key for one in some] == [one for of, one in asked if of == key]


def test_what_is_asked_together_is_answered_together_and_fails_together() -> None:
    sizes: list[int] = []
    first = threading.Event()

    def answer(key: object, some: list[int]) -> list[int]:
        first.wait(10)
        sizes.append(len(some))
        if 13 in some:
            raise ValueError("13")
        return some

    batcher = Batcher[int, int](answer, 16)
    futures = [batcher.submit("good", number) for number in range(10)]
    bad = [batcher.submit("bad", number) for number in (12, 13)]
    first.set()
    assert [future.result(10) for future in futures] == list(range(10))
    for future in bad:
        with pytest.raises(ValueError, match="13"):
            future.result(10)
    batcher.close()
    assert 10 in sizes and 2 in sizes
    assert batcher.submit("good", 1).result(10) == 1                    # it starts again when it is asked again
    batcher.close()
