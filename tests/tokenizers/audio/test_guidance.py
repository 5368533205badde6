import itertools
import math

import pytest
import torch

from omni.tokenizers.audio.guidance import RAREST, Alphabet, Reader, reading_loss


def test_only_frequent_letters_are_learnt_and_signs_are_not() -> None:
    alphabet = Alphabet(["Ab, a!"] * (RAREST // 2) + ["b"] * (RAREST // 2) + ["x"])
    assert alphabet.letters == "ab" and len(alphabet) == 3
    assert alphabet.ids("A-b x") == [1, 2]


def spelled(path: tuple[int, ...]) -> list[int]:
    """What a path of letters and blanks spells: repeats count once, blanks are dropped."""
    return [letter for letter, _ in itertools.groupby(path) if letter]


def test_the_loss_is_that_of_all_paths_that_spell_the_text() -> None:
    torch.manual_seed(0)
    said = torch.randn(2, 5, 3).log_softmax(-1)                         # [batch, steps, letters]
    texts, steps = [[1, 2], [2, 2]], [5, 4]
    expected = []
    for row, (text, count) in enumerate(zip(texts, steps, strict=True)):
        paths = [path for path in itertools.product(range(3), repeat=count) if spelled(path) == text]
        chances = [math.exp(sum(float(said[row, step, letter]) for step, letter in enumerate(path))) for path in paths]
        expected.append(-math.log(sum(chances)) / len(text))
    loss = reading_loss(said, texts, steps)
    assert float(loss) == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_rows_without_words_and_texts_too_long_for_their_row_cost_nothing() -> None:
    said = torch.randn(2, 3, 4).log_softmax(-1)
    assert float(reading_loss(said, [[], []], [3, 3])) == 0
    assert float(reading_loss(said, [[1] * 9, []], [3, 3])) == 0


def test_the_reader_gives_two_distributions_a_frame() -> None:
    out = Reader(dims=6, letters=5)(torch.zeros(2, 7, 6))
    assert out.shape == (2, 14, 5) and torch.allclose(out.exp().sum(-1), torch.ones(2, 14), atol=1e-5)
