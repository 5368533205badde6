from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers.generation import (
    EpsilonLogitsWarper,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from omni.decode.samplers import GREEDY, Sampler
from omni.errors import InputError

SAMPLERS = st.builds(
    Sampler, st.floats(0.2, 3), st.integers(0, 9), st.floats(0.05, 1), st.sampled_from([0.0, 0.01, 0.1, 0.4]),
    st.booleans(),
)


def scores(seed: int, rows: int = 3, vocab: int = 7) -> Tensor:
    """Distinct scores, so that no two probabilities tie at a filter's border."""
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()


@settings(deadline=None)
@given(SAMPLERS, st.integers(0, 999))
def test_probabilities_are_those_of_transformers_warpers(sampler: Sampler, seed: int) -> None:
    logits = scores(seed)
    heat = TemperatureLogitsWarper(sampler.temperature)
    warpers = LogitsProcessorList([] if sampler.filter_first else [heat])
    if sampler.top_k:
        warpers.append(TopKLogitsWarper(sampler.top_k))
    if sampler.top_p < 1:
        warpers.append(TopPLogitsWarper(sampler.top_p))
    if sampler.epsilon:
        warpers.append(EpsilonLogitsWarper(sampler.epsilon))
    if sampler.filter_first:
        warpers.append(heat)
    expected = warpers(torch.zeros(3, 1, dtype=torch.long), logits).softmax(dim=-1)
    torch.testing.assert_close(sampler.probabilities(logits), expected)


@settings(deadline=None)
@given(SAMPLERS, st.integers(0, 999))
def test_probabilities_add_up_keep_the_best_and_never_reorder(sampler: Sampler, seed: int) -> None:
    logits = scores(seed)
    probs = sampler.probabilities(logits)
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(3))
    assert (probs.argmax(dim=-1) == logits.argmax(dim=-1)).all()
    kept = probs > 0
    assert (kept.sum(dim=-1) <= (sampler.top_k or 7)).all()
    weakest = torch.where(kept, logits, torch.inf).amin(dim=-1, keepdim=True)
    assert (logits[~kept] < weakest.expand_as(logits)[~kept]).all()


@settings(deadline=None)
@given(SAMPLERS, st.integers(0, 999))
def test_draws_come_from_what_is_kept_and_repeat_with_the_seed(sampler: Sampler, seed: int) -> None:
    logits = scores(seed, rows=20)
    ids = sampler(logits, torch.Generator().manual_seed(seed))
    assert ids.shape == (20,)
    assert (sampler.probabilities(logits).gather(1, ids[:, None]) > 0).all()
    assert torch.equal(ids, sampler(logits, torch.Generator().manual_seed(seed)))


def test_draws_follow_the_probabilities() -> None:
    sampler = Sampler(temperature=1.3, top_k=6, top_p=0.97)
    logits = scores(seed=3, rows=1).expand(20_000, 7)
    counts = torch.bincount(sampler(logits, torch.Generator().manual_seed(0)), minlength=7)
    probs = sampler.probabilities(logits[:1])[0].double()
    kept = probs > 0
    assert counts[~kept].sum() == 0
    expected = probs[kept] / probs[kept].sum() * counts.sum()
    assert chisquare(counts[kept].numpy(), expected.numpy()).pvalue > 1e-3


def test_rows_are_drawn_independently_of_their_neighbours_scores() -> None:
    logits = scores(seed=5, rows=4)
    changed = logits.clone()
    changed[0] = -logits[0]
    first, second = (Sampler()(each, torch.Generator().manual_seed(1)) for each in (logits, changed))
    assert torch.equal(first[1:], second[1:])


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(top_k=1), Sampler(epsilon=0.99), Sampler(top_p=1e-9)])
def test_the_strictest_settings_are_greedy(sampler: Sampler) -> None:
    logits = scores(seed=7, rows=50)
    assert torch.equal(sampler(logits), logits.argmax(dim=-1))
    assert torch.equal(sampler.probabilities(logits).argmax(dim=-1), logits.argmax(dim=-1))


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("temperature", float("inf")), ("top_k", -1),
     ("top_k", 2.5), ("top_p", 0.0), ("top_p", 1.1), ("top_p", float("nan")), ("epsilon", 1.0), ("epsilon", -0.1),
     ("filter_first", "no"),
     *((field, value) for field in ("temperature", "top_k", "top_p", "epsilon") for value in ("a", None))],
)  # fmt: skip
def test_a_setting_out_of_range_is_named_with_its_mend(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field}={value!r}: must"):
        Sampler(**{field: value})


@given(SAMPLERS, st.integers(0, 999), st.integers(0, 2), st.booleans())
def test_a_row_that_nothing_can_be_drawn_from_is_refused(sampler: Sampler, seed: int, row: int, greedy: bool) -> None:
    """Wherever it is among rows that can be drawn from. Of scores that are -inf but for one, that one is drawn."""
    sampler, logits = GREEDY if greedy else sampler, scores(seed)
    broken = logits.clone()
    broken[row, seed % 7] = torch.nan
    barred = logits.clone()
    barred[row] = -torch.inf
    for wrong in (broken, barred, broken[row], barred[row], barred.bfloat16()):
        with pytest.raises(InputError, match=r"^no id can be drawn: a row of scores is NaN, .*checkpoint$"):
            sampler(wrong)
    barred[row, seed % 7] = -50.0
    assert sampler(barred)[row] == seed % 7
    assert sampler(logits[:0]).shape == (0,)
    with pytest.raises(InputError, match="no id can be drawn"):
        GREEDY.probabilities(broken)


@given(SAMPLERS, st.booleans())
def test_what_is_no_tensor_of_scores_is_refused(sampler: Sampler, greedy: bool) -> None:
    sampler = GREEDY if greedy else sampler
    for wrong, said in (
        (torch.zeros(3, 0), r"^scores of shape \(3, 0\): must be \[\.\.\., vocab\] with one id or more$"),
        (torch.tensor(1.0), r"^scores of shape \(\): must be"), ([1.0, 2.0], "^scores of list: give a tensor"),
        (torch.zeros(3, 7).numpy(), "^scores of ndarray: give a tensor"),
    ):  # fmt: skip
        for draw in (sampler, sampler.probabilities):
            with pytest.raises(InputError, match=said):
                draw(wrong)


@given(SAMPLERS, st.booleans())
def test_an_accelerator_is_not_waited_for(sampler: Sampler, greedy: bool) -> None:
    """A tensor without numbers, as torch has it for tracing, raises when one of them is asked for."""
    sampler = GREEDY if greedy else sampler
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert sampler(torch.empty(3, 7, device="cuda")).shape == (3,)
        with pytest.raises(DataDependentOutputException):
            sampler(torch.empty(3, 7))
