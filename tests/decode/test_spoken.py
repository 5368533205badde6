"""What is said keeps to the text: by all paths that can be listed, and by what the shipped model says."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omni
from omni.decode.generate import generate_batch
from omni.decode.heard import Ear
from omni.decode.parts import Text
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import Sampler
from omni.decode.spoken import HOLD, LEAST, Spoken
from omni.decode.want import Want
from omni.sequence import Segment

CODES, MOMENTS, LETTERS = 5, 2, 3                                       # moments of a frame; letters with the blank


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """What a path of letters and blanks spells."""
    return tuple(one for one, before in zip(path, (0, *path), strict=False) if one and one != before)


def spelt(moments: np.ndarray, letters: tuple[int, ...]) -> tuple[float, float]:
    """How probably moments [n, LETTERS] spell a beginning of these letters, and all of them, over all paths."""
    begun = whole = 0.0
    for path in product(range(LETTERS), repeat=len(moments)):
        said, chance = collapsed(path), float(np.prod(moments[np.arange(len(moments)), path]))
        begun += chance * (letters[: len(said)] == said)
        whole += chance * (letters == said)
    return begun, whole


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from([1, 2]), min_size=1, max_size=4), st.lists(st.integers(0, CODES - 1), max_size=2),
    st.integers(0, 10**6),
)  # fmt: skip
def test_a_code_is_scored_by_all_paths_that_spell_a_beginning_of_the_text(
    letters: list[int], said: list[int], seed: int
) -> None:
    chances = np.random.default_rng(seed).dirichlet(np.ones(LETTERS), (CODES, MOMENTS)).astype(np.float32)
    row, text = Spoken(chances.transpose(1, 2, 0), np.array(letters)), tuple(letters)
    for code in said:
        row.write(code)
    before, whole = spelt(chances[said].reshape(-1, LETTERS), text)
    after = [spelt(chances[[*said, code]].reshape(-1, LETTERS), text)[0] for code in range(CODES)]
    found = np.exp(row.scores() / HOLD)
    wanted = np.maximum(np.array([*after, whole]) / before, LEAST)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)
    row.write(CODES)                                                    # the end changes nothing
    np.testing.assert_array_equal(np.exp(row.scores() / HOLD), found)


def test_no_letter_is_left_out_or_added_and_the_end_waits_for_the_last() -> None:
    sure = np.full((3, MOMENTS, LETTERS), 1e-4, np.float32)             # codes 0, 1, 2: nothing, letter 1, letter 2
    for code in range(3):
        sure[code, :, code] = 1 - 2e-4
    row, right = Spoken(sure.transpose(1, 2, 0), np.array([1, 2, 2])), pytest.approx(0, abs=1e-3)
    wrong, end = pytest.approx(HOLD * np.log(LEAST)), 3
    assert row.scores()[2] == wrong
    for code in (1, 2, 0, 2):                                           # one letter twice only over a blank
        assert row.scores()[end] == wrong and row.scores()[code] == right
        row.write(code)
    assert row.scores()[end] == right and row.scores()[1] == wrong


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return omni.load()


def drawn(pipeline: Pipeline, text: str, held: bool, rows: int = 4) -> list[Segment]:
    wants, sampler, generator = pipeline.asked(("audio",), "en", "clara", Sampler(0.5, top_p=0.9), max_seconds=4)
    want = wants[0] if held else Want("audio", "en", "clara", wants[0].limit)
    heard = pipeline.segments([Text(text)])
    made = generate_batch(pipeline.model, pipeline.vocab, [heard] * rows, [want], sampler, generator)
    return [segment for (segment,) in made]


def test_the_shipped_model_spells_what_it_says(pipeline: Pipeline) -> None:
    ear, texts = Ear.of(pipeline.tokenizers), ("A small red bird.", "An old blue car.", "A green apple.")
    assert ear is not None
    missed = [
        [min(100.0, ear.misses(one.codes, text)) for text in texts for one in drawn(pipeline, text, held)]
        for held in (False, True)
    ]
    assert np.mean(missed[1]) < 0.8 * np.mean(missed[0])


def test_a_text_with_letters_that_no_code_has_is_said_as_the_model_would(pipeline: Pipeline) -> None:
    text = "7 漢 8"
    free, held = drawn(pipeline, text, False, 2), drawn(pipeline, text, True, 2)
    assert all(np.array_equal(one.codes, other.codes) for one, other in zip(free, held, strict=True))


def test_rows_are_held_each_to_its_own_text(pipeline: Pipeline) -> None:
    wants, _, _ = pipeline.asked(("audio",), "en", "clara")
    texts = [pipeline.segments([Text(text)])[-1] for text in ("One.", "Two.")]
    nothing = Segment("audio", np.zeros((3, 5), np.int64), "user")
    rows = wants[0].spoken([*texts, nothing, None], pipeline.vocab)
    assert rows is not None and rows[2:] == [None, None]
    assert [len(row.jumps) for row in rows[:2] if row is not None] == [7, 7]
    assert not np.array_equal(rows[0].scores(), rows[1].scores())  # type: ignore[union-attr]
    assert wants[0].spoken([nothing], pipeline.vocab) is None
