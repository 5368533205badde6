"""Letters of other scripts stand for a language's own."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.tokenizers.scripts import ALIKE, SCRIPTS, in_script

LETTERS = " 0123456789abcdefghijklmnopqrstuvwxyzáéíóúñçșțабвгдежзийклмнопрстуфхцчшщъыьэюяёαβγδεζηθικλμνξοπρσςτυφχψωά"


@pytest.mark.parametrize("language", ["es", "ru", "bg", "el"])
def test_all_that_is_heard_comes_to_stand_in_the_script(language: str) -> None:
    script = {"es": "LATIN", "el": "GREEK"}.get(language, "CYRILLIC")
    weights = in_script(LETTERS, language)
    assert weights is not None
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    for number, letter in enumerate(LETTERS, start=1):
        own = not letter.isalpha() or unicodedata.name(letter).startswith(script)
        assert weights[number, number] == own
        assert own or not weights[:, number].any()
    np.testing.assert_allclose(weights @ weights, weights)              # in the script it is at rest


@given(st.sampled_from(sorted(SCRIPTS)), st.data())
def test_what_sounds_alike_is_shared_out(language: str, data: st.DataObject) -> None:
    weights = in_script(LETTERS, language)
    assert weights is not None
    letter = data.draw(st.sampled_from(sorted(set("".join(ALIKE)) & set(LETTERS))))
    meant = {LETTERS[number - 1] for number in weights[1 + LETTERS.index(letter)].nonzero()[0] if number}
    assert letter in meant or all(any(letter in group and one in group for group in ALIKE) for one in meant)


def test_accents_do_not_matter_and_unknown_languages_change_nothing() -> None:
    greek = in_script("ά" + "a", "en")
    assert greek is not None and greek.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert in_script(LETTERS, "zh") is None and in_script(LETTERS, None) is None


def test_a_sound_without_a_letter_is_silent() -> None:
    soft = in_script("ь" + "a", "es")
    assert soft is not None and soft[1].tolist() == [1, 0, 0]
