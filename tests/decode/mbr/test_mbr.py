"""MBR against sacrebleu pair by pair, brute force, and mbrs."""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pandas
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.decode.mbr import ngrams
from omni.decode.mbr.bench import peer_choices, variants
from omni.decode.mbr.choose import Choice, IncrementalMbr, mbr, mbr_aggregated, mbr_coarse_to_fine, mbr_pruned
from omni.decode.mbr.embedding import cosine
from omni.decode.mbr.utilities import Utility, bleu, chrf, pairwise
from omni.errors import InputError

TEXTS = st.lists(st.text("ab c.é", max_size=14), max_size=6)
WORDS = ("the", "cat", "sat", "on", "a", "mat", ".")
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=6)


def sentence_chrf(text: str, reference: str) -> float:
    return sacrebleu.sentence_chrf(text, [reference]).score


def sentence_bleu(text: str, reference: str) -> float:
    return sacrebleu.sentence_bleu(text, [reference]).score


@settings(deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_chrf_of_all_pairs_is_sacrebleus(texts: list[str], references: list[str], same: bool) -> None:
    references = texts if same else references
    expected = [[sentence_chrf(text, reference) for reference in references] for text in texts]
    shape = len(texts), len(references)
    for alone in (0, ngrams.ALONE):                                     # in threads, and without
        with mock.patch.object(ngrams, "ALONE", alone):
            np.testing.assert_allclose(chrf(texts, references, jobs=2), np.reshape(expected, shape), atol=1e-9)


@settings(deadline=None)
@given(SENTENCES, SENTENCES, st.booleans())
def test_bleu_of_all_pairs_is_sacrebleus(texts: list[str], references: list[str], same: bool) -> None:
    references = texts if same else references
    expected = [[sentence_bleu(text, reference) for reference in references] for text in texts]
    np.testing.assert_allclose(bleu(texts, references), np.reshape(expected, (len(texts), len(references))), atol=1e-9)


def test_without_a_compiler_the_counts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["the cat sat", "a cat sat on it", "", "xx", "the cat the cat"]
    quick, parts, counted = chrf(texts, texts), chrf(texts, texts[:2]), bleu(texts, texts[1:])
    monkeypatch.setattr(ngrams, "_kernel", lambda name, arguments: None)
    np.testing.assert_allclose(quick, chrf(texts, texts), rtol=1e-12)
    np.testing.assert_allclose(parts, chrf(texts, texts[:2]), rtol=1e-12)
    np.testing.assert_array_equal(counted, bleu(texts, texts[1:]))
    assert chrf(texts, []).shape == bleu(texts, []).shape == (5, 0)


@settings(deadline=None)
@given(TEXTS.filter(bool), st.data())
def test_the_choice_is_that_of_brute_force(texts: list[str], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.1, 2), min_size=len(texts), max_size=len(texts)))
    total = sum(weights)
    expected = [
        sum(weight / total * sentence_chrf(text, other) for weight, other in zip(weights, texts, strict=True))
        for text in texts
    ]
    choice = mbr(texts, chrf, weights=weights)
    np.testing.assert_allclose(choice.expected, expected, atol=1e-9)
    assert expected[choice.index] == pytest.approx(max(expected), abs=1e-9)
    assert texts.index(texts[choice.index]) == choice.index             # of equals, the first


def crowd(seed: int, n: int = 64) -> list[str]:
    """Variants of one sentence, as a sampler would draw them."""
    random = np.random.default_rng(seed)
    sentence = "the old owl sat in the high tree and looked at us for a very long time"
    split = sentence.split()
    return [" ".join(split[random.integers(17)] if random.random() < 0.3 else word for word in split) for _ in range(n)]


def test_less_counting_finds_good_candidates_too() -> None:
    same, pairs = 0, 0
    for seed in range(10):
        texts = crowd(seed)
        exact = mbr(texts, chrf)
        ranks = np.argsort(np.argsort(-exact.expected, kind="stable"), kind="stable")
        pruned = mbr_pruned(texts, chrf, confidence=0.999, seed=seed)
        assert ranks[pruned.index] < 4 and ranks[mbr_aggregated(texts, chrf).index] < 8
        fine = mbr_coarse_to_fine(texts, bleu, chrf, keep=16)
        assert len({text for text, value in zip(texts, fine.expected, strict=True) if not np.isnan(value)}) == 16
        assert mbr_coarse_to_fine(texts, bleu, chrf, keep=64).index == exact.index
        same, pairs = same + (pruned.index == exact.index), pairs + pruned.pairs
    assert same >= 7 and pairs < 10 * 64 * 64


def test_pruning_compares_equal_candidates_once() -> None:
    """As the exact choice does; and what it expects of those that stay is what their references say."""
    texts = ["the cat sat"] * 60 + ["a cat sat", "the mat", "on it", "it sat on the mat"]
    exact, pruned = mbr(texts, chrf), mbr_pruned(texts, chrf)
    assert exact.pairs == 25 and pruned.pairs <= 25
    assert pruned.index == exact.index == 0
    assert mbr_pruned(["a"] * 9, chrf).expected.tolist() == pytest.approx([100] * 9)


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40), st.integers(0, 9))
def test_pruning_that_gives_up_none_is_the_exact_choice(letters: list[str], seed: int) -> None:
    """Equal utilities for all: every candidate keeps winning, so all references are looked at."""
    utility = pairwise(lambda ours, theirs: 1.0)
    pruned = mbr_pruned(letters, utility, seed=seed)
    np.testing.assert_allclose(pruned.expected, mbr(letters, utility).expected)
    assert pruned.index == 0
    near = pairwise(lambda ours, theirs: float(ours == theirs))
    found = mbr_pruned(letters, near, confidence=1 - 1e-9, seed=seed)
    kept = ~np.isnan(found.expected)
    if len(set(np.array(letters)[kept])) > 1:                           # of one left, some references are enough
        np.testing.assert_allclose(found.expected[kept], mbr(letters, near).expected[kept])


def test_any_function_of_two_answers_is_a_utility() -> None:
    choice = mbr([1.0, 2.0, 9.0], pairwise(lambda ours, theirs: -abs(ours - theirs)))
    assert choice.index == 1                                            # the median minimises absolute error


@pytest.mark.parametrize("weights", [[1.0], [-1.0, 1.0], [0.0, 0.0], [math.nan, 1.0], ["a", "b"]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        mbr(["a", "b"], chrf, weights=weights)


def test_empty_lists_and_bad_settings_are_refused() -> None:
    for call in (lambda: mbr([], chrf), lambda: mbr(["a"], chrf, []), lambda: mbr_pruned([], chrf),
                 lambda: mbr_aggregated([], chrf)):  # fmt: skip
        with pytest.raises(InputError, match="nothing to choose from"):
            call()
    for confidence in (1, "a", None):
        with pytest.raises(InputError, match=f"confidence={confidence!r}"):
            mbr_pruned(["a"], chrf, confidence=confidence)
    for seed in (-1, "a"):
        with pytest.raises(InputError, match=f"seed={seed!r}: must be a whole number of 0 or more"):
            mbr_pruned(["a"], chrf, seed=seed)
    for resamples in (0, 2.5, "a"):
        with pytest.raises(InputError, match=f"resamples={resamples!r}"):
            mbr_pruned(["a"], chrf, resamples=resamples)
    for keep in (0, 1.5, "a"):
        with pytest.raises(InputError, match=f"keep={keep!r}"):
            mbr_coarse_to_fine(["a"], chrf, chrf, keep=keep)


@pytest.mark.parametrize("choose", [mbr, mbr_pruned, mbr_aggregated])
def test_what_is_no_text_is_refused_by_name(choose: Callable[..., Choice]) -> None:
    for utility in (chrf, bleu):
        for candidates, references in ((["a", None], None), (["a"], [3.5]), ([b"a"], None)):
            with pytest.raises(InputError, match=r"compares texts, not (None|3\.5|b'a') \((NoneType|float|bytes)\)$"):
                choose(candidates, utility, references)
    with pytest.raises(InputError, match="candidates: unhashable type: 'list'; give texts"):
        choose([["a"], ["b"]], chrf)


def in_two(candidates: Any, utility: Utility[Any], references: Any = None) -> Choice:
    """Bit by bit; references are the candidates."""
    if references is not None:
        return mbr(candidates, utility, references)
    growing = IncrementalMbr(utility)
    growing.add(candidates[:2])
    return growing.add(candidates[2:])


def coarse(candidates: Any, utility: Utility[Any], references: Any = None) -> Choice:
    return mbr_coarse_to_fine(candidates, utility, utility, 2, references)


WAYS = (mbr, mbr_pruned, mbr_aggregated, coarse, in_two)


@pytest.mark.parametrize("choose", WAYS)
def test_arrays_and_columns_are_lists(choose: Callable[..., Choice]) -> None:
    """Of texts and of numbers, which an array adds up where a list goes on."""
    texts, numbers = ["the cat", "a cat", "no dog", "a cat", "cat"], [1.0, 2.0, 9.0, 2.0, 4.0]
    near = cosine(lambda some: np.array([[value, 1.0] for value in some]))
    for listed, utility in ((texts, chrf), (numbers, near)):
        expected = choose(listed, utility)
        column = pandas.Series(listed, index=range(5, 10))
        for answers in (tuple(listed), np.array(listed), np.array(listed, object), column):
            for references in (None, answers):
                found = choose(answers, utility, references)
                assert (found.index, len(found.expected)) == (expected.index, 5)
                np.testing.assert_allclose(found.expected, expected.expected)


@pytest.mark.parametrize("choose", [*WAYS[:-1], lambda answers, utility: IncrementalMbr(utility).add(answers)])
def test_what_is_no_list_and_no_utility_is_refused(choose: Callable[..., Choice]) -> None:
    for answers, said in (
        (None, "must be a list of answers, not NoneType"), ((one for one in "ab"), "not generator"), ({"a"}, "not set"),
        ({"a": 1}, "not dict"), ("abc", "'abc' is a single one; give a list of them"), (b"abc", "is a single one"),
        (np.array("abc"), "ndarray of 0 dimensions"), (np.zeros((2, 2)), "ndarray of 2 dimensions"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^candidates: .*{said}"):
            choose(answers, chrf)
    for utility in ("chrf", None):
        with pytest.raises(InputError, match=rf"^utility={utility!r}: must be a function .*; names are for best_of"):
            choose(["a", "b"], utility)


def test_references_are_a_list_too() -> None:
    for choose in WAYS[:-1]:
        with pytest.raises(InputError, match=r"^references: 'abc' is a single one"):
            choose(["a"], chrf, "abc")


@pytest.mark.parametrize("jobs", [0, 2])
def test_few_candidates_are_compared_without_threads(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    begun = []
    pool = ngrams.ThreadPoolExecutor
    monkeypatch.setattr(ngrams, "ThreadPoolExecutor", lambda jobs: begun.append(jobs) or pool(jobs))
    few, many = crowd(0, 48), crowd(0, 800)
    for utility in (partial(chrf, jobs=jobs), partial(bleu, jobs=jobs)):
        alone = utility(few, few), utility(few, few[:5]), utility(few, [])
        assert not begun
        with monkeypatch.context() as patch:
            patch.setattr(ngrams, "ALONE", 0)
            for one, other in zip(alone, (utility(few, few), utility(few, few[:5]), utility(few, [])), strict=True):
                np.testing.assert_array_equal(one, other)
        assert begun == [1, 1, 1]                                       # beside this thread
        begun.clear()
    chrf(many, many, jobs)
    chrf(many[:400], many[400:], jobs)
    assert begun == [1, 1]
    chrf(many, many, 1)
    assert begun == [1, 1]


@pytest.mark.slow
def test_mbrs_chooses_the_same() -> None:
    pytest.importorskip("mbrs")
    sets = [variants(n, seed) for seed, n in enumerate((2, 3, 8, 20, 40))]
    theirs = [index for index, _, _ in peer_choices(sets, workers=1)]
    chosen = [texts[mbr(texts, chrf).index] for texts in sets]
    assert chosen == [texts[index] for texts, index in zip(sets, theirs, strict=True)]  # equal texts have many places
