import unicodedata
from itertools import product

import jiwer
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omni
from omni.decode.generate import generate_batch
from omni.decode.heard import SILENT, UNHEARD, Ear, Heard, last_sound
from omni.decode.samplers import GREEDY
from omni.sequence import Segment
from omni.tokenizers.letters import plain

LETTER = np.array([1, 2, SILENT, UNHEARD, 0])                           # of four pieces of text, and of the end


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """What a path of letters and blanks spells."""
    return tuple(one for one, before in zip(path, (0, *path), strict=False) if one and one != before)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 10**6), st.lists(st.sampled_from([0, 1]), max_size=4))
def test_what_comes_next_is_as_likely_as_all_paths_that_begin_so(moments: int, seed: int, written: list[int]) -> None:
    chances = np.random.default_rng(seed).dirichlet(np.ones(3), moments)  # [moments, blank and two letters]
    heard = Heard(LETTER, chances)
    for code in written:
        heard.write(code)
    begun = tuple(int(LETTER[code]) for code in written)
    found = dict.fromkeys((0, 1, 2), 0.0)
    for path in product(range(3), repeat=moments):
        spelt = collapsed(path)
        if spelt[: len(begun)] == begun:
            found[(*spelt, 0)[len(begun)]] += float(np.prod(chances[np.arange(moments), path]))
    if sum(found.values()) > 1e-12:
        wanted = np.log(np.maximum(np.array(list(found.values())) / sum(found.values()), 1e-30))
        scores = heard.scores()
        np.testing.assert_allclose(np.exp(scores[[4, 0, 1]]), np.exp(wanted), atol=1e-9)
        assert scores[2] == scores[[0, 1, 4]].max()                     # a full stop costs nothing
        assert scores[3] == scores[[0, 1, 4]].min()


def test_silence_and_the_end_change_nothing_but_there_are_no_two_silences() -> None:
    heard = Heard(LETTER, np.random.default_rng(0).dirichlet(np.ones(3), 5))
    before = heard.scores()
    for code in (2, 3, 4):
        heard.write(code)
    np.testing.assert_array_equal(heard.scores(), before)
    heard.write(2)
    assert heard.scores()[2] == before.min() < before[2]
    np.testing.assert_array_equal(heard.scores()[[0, 1, 3, 4]], before[[0, 1, 3, 4]])


def test_where_little_is_heard_no_transcript_loops_in_what_nobody_hears() -> None:
    pipeline = omni.load()
    ear = Ear.of(pipeline.tokenizers)
    assert ear is not None
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, pipeline.vocab.codebook_size, (30, 5))
        said = Segment("audio", noise, "user")
        wants, sampler, generator = pipeline.asked(("text",), sampler=GREEDY, max_tokens=80, verbatim=True)
        ((made,),) = generate_batch(pipeline.model, pipeline.vocab, [[said]], wants, sampler, generator)
        silent = ear.letter[made.codes] == SILENT
        assert len(made.codes) > 0 and not (silent[1:] & silent[:-1]).any()


def test_sounds_of_one_speaker_are_written_down_together() -> None:
    one, two = (Segment("audio", np.full((n, 5), n), "user") for n in (2, 3))
    asked = Segment("text", np.array([1]), "user")
    assert last_sound([one, asked, two]) is two
    assert last_sound([two, asked]) is asked
    np.testing.assert_array_equal(last_sound([asked, one, two]).codes[:, 0], [2, 2, 3, 3, 3])


def test_a_transcript_keeps_to_what_the_codes_spell() -> None:
    pipeline = omni.load()
    ear = Ear.of(pipeline.tokenizers)
    assert ear is not None and pipeline.tokenizers.audio is not None
    words = pipeline.tokenizers.audio.words
    surest = ear.chances.max(-1).min(-1)                                # [codes] of its less sure moment
    blank = int(np.where(ear.chances.argmax(-1).any(-1), 0, surest).argmax())
    said = "zebra quilt"
    first = ear.chances[:, 0]                                           # [codes, 1 + letters]
    codes = [code for letter in said for code in (int(first[:, 1 + words.letters.index(letter)].argmax()), blank)]
    sound = np.zeros((len(codes), 5), np.int64)
    sound[:, 0] = codes
    heard = plain(words.read(torch.from_numpy(sound[:, 0])))
    wants, sampler, generator = pipeline.asked(("text",), "en", sampler=GREEDY, max_tokens=60, verbatim=True)
    spoken = Segment("audio", sound, "user")
    (made,), (again,) = generate_batch(pipeline.model, pipeline.vocab, [[spoken], [spoken]], wants, sampler, generator)
    assert np.array_equal(made.codes, again.codes)
    text = plain(pipeline.tokenizers.text.decode(made.codes.tolist()))
    free, _, _ = pipeline.asked(("text",), "en", sampler=GREEDY, max_tokens=60)
    ((other,),) = generate_batch(pipeline.model, pipeline.vocab, [[spoken]], free, sampler, generator)
    loose = plain(pipeline.tokenizers.text.decode(other.codes.tolist()))
    assert jiwer.cer(heard, text) < jiwer.cer(heard, loose) or text == heard
    assert jiwer.cer(heard, text) <= 1 / 3


def test_a_transcript_is_written_in_the_script_of_its_language() -> None:
    pipeline = omni.load()
    noise = np.random.default_rng(1).integers(0, pipeline.vocab.codebook_size, (40, 5))
    said = [Segment("audio", noise, "user")]

    def scripts(language: str) -> set[str]:
        wants, sampler, generator = pipeline.asked(("text",), language, sampler=GREEDY, max_tokens=80, verbatim=True)
        ((made,),) = generate_batch(pipeline.model, pipeline.vocab, [said], wants, sampler, generator)
        assert pipeline.tokenizers.text is not None
        text = pipeline.tokenizers.text.decode(made.codes.tolist())
        return {unicodedata.name(letter).split(" ")[0] for letter in text if letter.isalpha()}

    for language, script in (("es", "LATIN"), ("ru", "CYRILLIC"), ("el", "GREEK")):
        assert scripts(language) == {script}
