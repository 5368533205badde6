"""MBR with one mean reference, against the formulas of sacrebleu on counted n-grams, exact choices, and mbrs."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from omni.decode.mbr import ngrams
from omni.decode.mbr.bench import peer_choices, variants
from omni.decode.mbr.choose import mbr, mbr_aggregated
from omni.decode.mbr.embedding import cosine
from omni.decode.mbr.speech import Speech, heard, quality
from omni.decode.mbr.utilities import Utility, bleu, chrf, mixed, pairwise, word_accuracy
from omni.errors import InputError

Mean = tuple[list[dict[tuple[str, ...], float]], float]
SENTENCES = st.lists(st.lists(st.sampled_from(("the", "cat", "sat.", "a", "é")), max_size=7).map(" ".join), min_size=1,
                     max_size=6)  # fmt: skip
SHARES = st.lists(st.floats(0.1, 2), min_size=6, max_size=6)
VECTORS = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=8)


def bags(symbols: Sequence[str], orders: int) -> list[Counter[tuple[str, ...]]]:
    return [Counter(tuple(symbols[at : at + n]) for at in range(len(symbols) - n + 1)) for n in range(1, orders + 1)]


def mean_of(said: Iterable[Sequence[str]], shares: Sequence[float], orders: int) -> Mean:
    """Mean counts of each order's n-grams, and the mean length."""
    total: list[dict[tuple[str, ...], float]] = [{} for _ in range(orders)]
    length = 0.0
    for symbols, share in zip(said, shares, strict=True):
        length += share / sum(shares) * len(symbols)
        for mine, bag in zip(total, bags(symbols, orders), strict=True):
            for gram, count in bag.items():
                mine[gram] = mine.get(gram, 0) + share / sum(shares) * count
    return total, length


def bleu_of_mean(text: Sequence[str], mean: Mean) -> float:
    """Sacrebleu's formula takes no length but a whole one, so the brevity penalty is by hand."""
    mine = bags(text, 4)
    correct = [
        sum(min(n, theirs.get(gram, 0)) for gram, n in bag.items()) for bag, theirs in zip(mine, mean[0], strict=True)
    ]
    total = [sum(bag.values()) for bag in mine]
    precise = BLEU.compute_bleu(correct, total, len(text), 0, smooth_method="exp", effective_order=True).score
    return precise * math.exp(min(0, 1 - mean[1] / len(text))) if text else 0.0


def chrf_of_mean(text: Sequence[str], mean: Mean) -> float:
    statistics: list[float] = []
    for bag, theirs in zip(bags(text, 6), mean[0], strict=True):
        shared = sum(min(n, theirs.get(gram, 0)) for gram, n in bag.items())
        statistics += [sum(bag.values()), sum(theirs.values()), shared]
    return float(CHRF()._compute_f_score(statistics))


def split_words(text: str) -> list[str]:
    return Tokenizer13a()(text.rstrip()).split()


def split_letters(text: str) -> list[str]:
    return list("".join(text.split()))


@pytest.mark.parametrize(
    ("utility", "split", "orders", "score"),
    [(bleu, split_words, 4, bleu_of_mean), (chrf, split_letters, 6, chrf_of_mean)],
)
def test_a_mean_reference_is_the_mean_of_counted_n_grams(
    utility: Utility[str], split: Callable[[str], list[str]], orders: int,
    score: Callable[[Sequence[str], Mean], float],
) -> None:  # fmt: skip
    @given(SENTENCES, SENTENCES, SHARES, st.booleans())
    def check(texts: list[str], references: list[str], shares: list[float], same: bool) -> None:
        references = texts if same else references
        shares = shares[: len(references)]
        mean = mean_of([split(reference) for reference in references], shares, orders)
        expected = [score(split(text), mean) for text in texts]
        found = mbr_aggregated(texts, utility, None if same else references, shares)
        np.testing.assert_allclose(found.expected, expected, atol=1e-7)
        assert found.pairs == len(set(texts))                           # linear
        assert texts.index(texts[found.index]) == found.index           # of equals, the first
        assert expected[found.index] == pytest.approx(max(expected), abs=1e-7)

    check()


@given(SENTENCES, st.integers(1, 5))
def test_the_mean_of_equal_references_is_each_of_them(texts: list[str], times: int) -> None:
    for utility in (chrf, bleu):
        found = mbr_aggregated(texts, utility, texts[:1] * times)
        np.testing.assert_allclose(found.expected, utility(texts, texts[:1])[:, 0], atol=1e-9)


@given(VECTORS, VECTORS, st.lists(st.floats(0.1, 2), min_size=8, max_size=8), st.booleans())
def test_the_mean_embedding_is_exact(
    vectors: list[tuple[int, ...]], references: list[tuple[int, ...]], shares: list[float], same: bool
) -> None:
    """The cosine with a mean of unit vectors is the mean of the cosines; zeros are like nothing."""
    utility, others = cosine(lambda some: np.array(some, np.float64)), None if same else references
    shares = shares[: len(vectors if same else references)]
    found, exact = mbr_aggregated(vectors, utility, others, shares), mbr(vectors, utility, others, shares)
    np.testing.assert_allclose(found.expected, exact.expected, atol=1e-12)
    assert exact.expected[found.index] == pytest.approx(exact.expected.max())


def test_a_network_embeds_each_answer_once() -> None:
    seen: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(text), 1.0] for text in texts])

    mbr_aggregated(["a", "bb", "a", "ccc"], cosine(embed))
    assert sorted(seen) == ["a", "bb", "ccc"]


def test_mixtures_and_what_is_heard_aggregate_as_their_parts_do() -> None:
    clips = [Speech(np.full(9, 0.1, np.float32)) for _ in range(3)]
    for clip, words, rating in zip(clips, ("a cat sat", "a cat sat down", "no dog"), (2.0, 3.0, 4.0), strict=True):
        clip.__dict__.update(words=words, rating=rating)                # what was heard and rated
    said = [clip.words for clip in clips]
    of_words, rated = mbr_aggregated(said, chrf).expected, np.array([2.0, 3.0, 4.0])
    np.testing.assert_allclose(mbr_aggregated(clips, heard(chrf)).expected, of_words)
    assert mbr_aggregated(clips, quality).index == mbr(clips, quality).index == 2
    both = mbr_aggregated(clips, mixed({heard(chrf): 0.5, quality: 2.0}))
    np.testing.assert_allclose(both.expected, 0.5 * of_words + 2 * rated)


@pytest.mark.parametrize(
    "utility", [word_accuracy, pairwise(lambda ours, theirs: 1.0), mixed({chrf: 1.0, word_accuracy: 1.0}),
                heard(word_accuracy), partial(chrf, jobs=1)],
)  # fmt: skip
def test_a_utility_without_a_mean_is_refused_in_one_line(utility: Utility[str]) -> None:
    with pytest.raises(InputError, match=r"^aggregate: this utility knows no mean of answers; use chrf, .*$"):
        mbr_aggregated(["a", "b"], utility)


def test_aggregating_refuses_what_the_exact_choice_does() -> None:
    for candidates, references in (([], None), (["a"], [])):
        with pytest.raises(InputError, match="nothing to choose from"):
            mbr_aggregated(candidates, chrf, references)
    with pytest.raises(InputError, match="weights"):
        mbr_aggregated(["a", "b"], bleu, weights=[1.0])
    broken = cosine(lambda some: np.array([[np.nan if one == "b" else 1.0] for one in some]))
    with pytest.raises(InputError, match="gave nan for 'b'"):
        mbr_aggregated(["a", "b"], broken, ["a"])


def test_without_a_compiler_the_means_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = variants(12, 3)
    quick = [mbr_aggregated(texts, utility).expected for utility in (chrf, bleu)]
    monkeypatch.setattr(ngrams, "_kernel", lambda name, arguments: None)
    np.testing.assert_allclose([mbr_aggregated(texts, utility).expected for utility in (chrf, bleu)], quick, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chrf", "bleu"])
def test_mbrs_aggregates_to_the_same(name: str) -> None:
    pytest.importorskip("mbrs")
    sets = [*(variants(n, seed) for seed, n in enumerate((2, 3, 8, 20, 40, 100))), ["", "a"], ["a b", "", "c d e f g"]]
    for texts, (index, _, score) in zip(sets, peer_choices(sets, 1, metric=name, aggregate=True), strict=True):
        ours = mbr_aggregated(texts, {"chrf": chrf, "bleu": bleu}[name])
        assert texts[ours.index] == texts[index]                        # equal texts have many places
        assert ours.expected[ours.index] == pytest.approx(score, abs=1e-4)  # theirs are float32
