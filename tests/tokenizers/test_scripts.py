"""The letters that a language is written in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.tokenizers.scripts import written

LATIN, CYRILLIC, GREEK, BOTH = "azéñçșț", "абщъёяі", "αωάςη", " 079"


@pytest.mark.parametrize(("language", "letters"), [("es", LATIN), ("ru", CYRILLIC), ("bg", CYRILLIC), ("el", GREEK)])
def test_a_language_is_written_in_one_script(language: str, letters: str) -> None:
    every = LATIN + CYRILLIC + GREEK + BOTH
    assert "".join(np.array(list(every))[written(every, language)]) == letters + BOTH


@given(st.text(max_size=40))
def test_a_letter_is_of_one_script_or_of_all(letters: str) -> None:
    counts = sum(written(letters, of).astype(int) for of in ("en", "ru", "el"))
    assert set(np.unique(counts).tolist()) <= {0, 1, 3}
    assert written(letters, "zh").all() and written(letters, None).all()
