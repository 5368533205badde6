import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omni.tokenizers.audio.words import Words
from omni.train.tasks.mishearing import TO_ANSWER, TO_WRITE, Mishearing, Noise


def words() -> Words:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Words(16000, 321, 4, 60, "abc ")
        made.centres.copy_(torch.rand(60, made.centres.shape[1]))
    made.centres[7, 0] = made.centres[7, 5] = 2.0                       # nothing is surer to say nothing
    made.centres[8, 0] = 3.0                                            # its second letter is one
    made.centres[8, 6] = 3.0
    return made


@given(st.integers(0, 10**6), st.integers(0, 80))
def test_only_words_are_misheard_and_only_those_that_say_something(seed: int, frames: int) -> None:
    known, chance = words(), np.random.default_rng(seed)
    codes = chance.integers(60, size=(frames, 3))
    kept = codes.copy()
    heard = Mishearing(known)(codes, Noise(chance, *TO_ANSWER))
    assert np.array_equal(codes, kept) and heard.shape == codes.shape   # what was given stays
    assert np.array_equal(heard[:, 1:], codes[:, 1:])
    table = known.table(" ")
    assert all(table[code].strip() for code in codes[heard[:, 0] != codes[:, 0], 0])


@pytest.mark.parametrize(("share", "most"), [TO_WRITE, TO_ANSWER])
def test_a_share_is_misheard_and_of_it_half_of_the_most(share: float, most: float) -> None:
    known, noise = Mishearing(words()), Noise(np.random.default_rng(0), share, most)
    codes = np.tile(np.flatnonzero(known.spells)[:, None], (10, 2))
    wrong = np.array([(known(codes, noise)[:, 0] != codes[:, 0]).mean() for _ in range(600)])
    assert share - 0.1 < (wrong > 0).mean() < share + 0.1
    assert wrong.max() < most + 0.1 and most / 2 - 0.05 < wrong[wrong > 0].mean() < most / 2 + 0.05
    assert known.blank == 7
