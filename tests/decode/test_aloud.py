"""Texts that are read aloud, by the model that ships."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import omni
from omni.decode.aloud import READINGS, clearest
from omni.decode.answer import Answer
from omni.decode.generate import generate_batch
from omni.decode.heard import MISHEARD, Ear
from omni.decode.samplers import GREEDY, Sampler
from omni.tokenizers.audio.guidance import Alphabet

LIVELY = Sampler(temperature=0.7)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.text("abc ", min_size=1, max_size=5), st.integers(1, 4))
def test_what_codes_spell_is_as_unlikely_as_by_ctc_and_never_heard_where_they_are_too_few(
    seed: int, text: str, frames: int
) -> None:
    chances = np.random.default_rng(seed).dirichlet(np.ones(4), (6, 2))  # [codes, letters a frame, blank and letters]
    ear = Ear(chances, np.zeros(1, np.int64), Alphabet([], "abc"))
    codes = np.random.default_rng(seed).integers(0, 6, (frames, 3))
    wanted = ear.alphabet.ids(text)
    moments = torch.from_numpy((1 - MISHEARD) * chances[codes[:, 0]].reshape(-1, 4) + MISHEARD / 4).log()
    row = torch.tensor(wanted, dtype=torch.long)
    right = F.ctc_loss(moments, row, torch.tensor(2 * frames), torch.tensor(len(wanted)), reduction="sum")
    np.testing.assert_allclose(ear.misses(codes, text), float(right), rtol=1e-6)
    assert ear.misses(codes, "a" * (2 * frames + 1)) == float("inf")


def test_the_reading_that_is_kept_is_the_one_that_the_ear_understands_best() -> None:
    pipeline = omni.load()
    codec, ear = pipeline.tokenizers.audio, Ear.of(pipeline.tokenizers)
    assert codec is not None and ear is not None
    parts, how = [omni.Text("A red flower.")], {"language": "en", "voice": "clara", "sampler": LIVELY, "seed": 3}
    kept = pipeline(parts, ["audio"], **how, max_seconds=3.0)
    (many,) = [pipeline.batch([parts], ["audio"], **how, max_seconds=3.0)]
    assert np.array_equal(kept.segments[0].codes, many[0].segments[0].codes)

    def misses(answer: Answer) -> float:
        with torch.inference_mode():
            sound = codec.encode(torch.from_numpy(answer.audio)[None])[0].numpy()
        return sum(ear.misses(codes, "A red flower.") for codes in (sound, answer.segments[0].codes))

    heard = pipeline.segments(parts)
    wants, sampler, generator = pipeline.asked(["audio"], **how, max_seconds=3.0)
    drawn = generate_batch(pipeline.model, pipeline.vocab, [heard] * READINGS, wants, sampler, generator)
    readings = [pipeline.render(segments) for segments in drawn]
    assert len({one.segments[0].codes.tobytes() for one in readings}) > 1
    assert misses(kept) == min(map(misses, readings)) < max(map(misses, readings))
    texts = ["A red flower.", "A red flower."]
    both = clearest([*readings, *readings[::-1]], texts, codec, ear)
    assert misses(both[0]) == misses(both[1]) == misses(kept)


def test_the_most_probable_reading_is_one() -> None:
    pipeline = omni.load()
    parts, how = [omni.Text("Five.")], {"language": "en", "voice": "clara", "sampler": GREEDY, "max_seconds": 1.0}
    one, other = pipeline(parts, ["audio"], **how), pipeline.batch([parts], ["audio"], **how)[0]
    assert np.array_equal(one.segments[0].codes, other.segments[0].codes)
