import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.errors import InputError
from omni.train.schedule import KINDS, Schedule


@given(kind=st.sampled_from(KINDS), steps=st.integers(1, 500), warmup=st.integers(0, 600), final=st.floats(0, 1))
def test_every_factor_lies_between_zero_and_the_peak(kind: str, steps: int, warmup: int, final: float) -> None:
    factors = [Schedule(kind, steps, warmup, 0.3, final).factor(step) for step in range(steps)]
    assert all(0 <= factor <= 1 for factor in factors)
    peak = min(warmup, steps)
    assert factors[:peak] == [(step + 1) / (peak + 1) for step in range(peak)]
    assert all(later <= earlier + 1e-12 for earlier, later in zip(factors[peak:], factors[peak + 1 :], strict=False))


def test_closed_forms() -> None:
    cosine = Schedule("cosine", 110, 10, final=0.1)
    assert cosine.factor(59) == pytest.approx(0.1 + 0.9 * 0.5)
    assert cosine.factor(109) == pytest.approx(0.1)
    wsd = Schedule("wsd", 100, 10, decay=0.2, final=0.0)
    assert [wsd.factor(step) for step in (10, 79)] == [1, 1]
    assert wsd.factor(89) == pytest.approx(0.5)
    assert wsd.factor(99) == 0
    rsqrt = Schedule("rsqrt", 1000, 99)
    assert rsqrt.factor(99) == 1
    assert rsqrt.factor(399) == pytest.approx(math.sqrt(100 / 400))
    assert Schedule("constant", 10, 0).factor(9) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "cosin"}, "schedule.kind: unknown 'cosin'"),
        ({"steps": 0}, "schedule.steps: must be at least 1"),
        ({"warmup": -1}, "schedule.warmup"),
        ({"decay": 1.5}, "schedule.decay: must lie in 0..1"),
    ],
)
def test_bad_schedules_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schedule(**fields)  # type: ignore[arg-type]
