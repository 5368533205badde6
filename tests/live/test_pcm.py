"""Sound formats against the standard library's G.711, and the resampler against soxr and itself."""

import warnings

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.errors import InputError
from omni.live.hearing.pcm import RATES, Resampler, from_base64, from_bytes, to_bytes

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    audioop = pytest.importorskip("audioop")                            # in the standard library until Python 3.13

EVERY = bytes(range(256))


@pytest.mark.parametrize(("encoding", "oracle"), [("audio/pcmu", audioop.ulaw2lin), ("audio/pcma", audioop.alaw2lin)])
def test_every_g711_byte_means_what_the_standard_library_says(encoding: str, oracle) -> None:
    expected = np.frombuffer(oracle(EVERY, 2), "<i2") / 32768
    np.testing.assert_array_equal(from_bytes(EVERY, encoding), expected.astype(np.float32))


@pytest.mark.parametrize(("encoding", "oracle"), [("audio/pcmu", audioop.lin2ulaw), ("audio/pcma", audioop.lin2alaw)])
def test_g711_encodes_as_near_as_the_standard_library(encoding: str, oracle) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, 20_000).astype(np.float32)
    ours = from_bytes(to_bytes(wave, encoding), encoding)
    theirs = from_bytes(oracle(to_bytes(wave, "audio/pcm"), 2), encoding)
    assert np.abs(ours - wave).max() <= np.abs(theirs - wave).max() + 1e-6
    assert np.abs(ours - wave).mean() <= np.abs(theirs - wave).mean() + 1e-9


@pytest.mark.parametrize("encoding", RATES)
def test_bytes_come_back_as_they_were(encoding: str) -> None:
    data = EVERY if encoding == "audio/pcm" else bytes(byte for byte in EVERY if byte != 0x7F)  # mu-law has two zeros
    assert to_bytes(from_bytes(data, encoding), encoding) == data


@pytest.mark.parametrize(("text", "words"), [("AAA=", "even number"), ("?", "not base64"), ("AA AA", "not base64")])
def test_what_is_no_sound_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_base64(text if text != "AAA=" else "AA==", "audio/pcm")


@settings(max_examples=40, deadline=None)
@given(
    rates=st.sampled_from([(24_000, 16_000), (8_000, 16_000), (16_000, 24_000), (16_000, 8_000), (16_000, 16_000)]),
    cuts=st.lists(st.integers(0, 700), min_size=1, max_size=12),
    seed=st.integers(0, 99),
)
def test_a_resampled_stream_does_not_depend_on_how_it_is_cut(rates, cuts, seed) -> None:
    wave = np.random.default_rng(seed).normal(size=sum(cuts)).astype(np.float32)
    whole = Resampler(*rates)
    expected = np.concatenate((whole(wave), whole.finish()))
    cut, at, parts = Resampler(*rates), 0, []
    for size in cuts:
        parts.append(cut(wave[at : at + size]))
        at += size
    np.testing.assert_allclose(np.concatenate((*parts, cut.finish())), expected, atol=1e-6)
    assert abs(len(expected) - len(wave) * rates[1] / rates[0]) <= 1


@pytest.mark.parametrize("rates", [(24_000, 16_000), (8_000, 16_000), (16_000, 24_000), (16_000, 8_000)])
def test_the_resampler_keeps_what_soxr_keeps(rates) -> None:
    rate, wanted = rates
    time = np.arange(rate) / rate
    wave = sum(np.sin(2 * np.pi * f * time + f) / 4 for f in (120, 700, 1900, 3000)).astype(np.float32)
    resampler = Resampler(rate, wanted)
    ours = np.concatenate((resampler(wave), resampler.finish()))
    theirs = soxr.resample(wave, rate, wanted, quality="VHQ")
    middle = slice(len(ours) // 10, -len(ours) // 10)
    size = min(len(ours), len(theirs))
    error = np.sqrt(np.mean((ours[:size][middle] - theirs[:size][middle]) ** 2) / np.mean(theirs[middle] ** 2))
    assert error < 0.01
