"""How good decoded audio is. Every measure takes mono float arrays at 16 kHz, -1..1, of equal length."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from omni.errors import InputError
from omni.figures import Report
from omni.progress import progress
from omni.tokenizers.audio.codec import AudioCodec, Codec
from omni.tokenizers.audio.recognizer import RATE, Sentences, spoken, transcribe, word_errors

CHUNK = 0.08                                                            # seconds a live stream hands over at a time
Wave: TypeAlias = NDArray[np.float32]
Clip: TypeAlias = tuple[Wave, str | None]                               # audio, and what is said in it in English


def stoi(reference: Wave, decoded: Wave) -> float:
    """Short-time objective intelligibility, 0..1 (Taal et al. 2011). NaN where less than 0.4 s is speech."""
    from pystoi import stoi as measure

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)                  # pystoi's way to say that it measured nothing
        try:
            return float(measure(reference, decoded, RATE))
        except RuntimeWarning:
            return math.nan


def pesq_wb(reference: Wave, decoded: Wave) -> float:
    """Wide-band PESQ, about 1..4.6 (ITU-T P.862.2). NaN where it hears no utterance."""
    from pesq import PesqError, pesq

    if not np.any(reference) or not np.any(decoded):
        return math.nan
    try:
        return float(pesq(RATE, reference, decoded, "wb"))
    except (PesqError, ValueError):
        return math.nan


def dnsmos(wave: Wave) -> float:
    """Overall quality as a listener would rate it, 1..5, without a reference (DNSMOS P.835, Reddy et al. 2022)."""
    length = int(9.01 * RATE)                                           # what the network takes; shorter clips repeat
    looped = np.resize(np.clip(wave, -1, 1), max(length, len(wave))).astype(np.float32)
    ratings = [
        _dnsmos_network().run(None, {"input_1": looped[None, first : first + length]})[0][0][2]
        for first in range(0, len(looped) - length + 1, RATE)
    ]
    return float(np.mean([np.polyval((-0.06766283, 1.11546468, 0.04602535), rating) for rating in ratings]))


@lru_cache(maxsize=1)
def _dnsmos_network() -> Any:
    """The network inside the speechmos wheel, on one thread; its own wrapper runs a second network and spins on all."""
    import onnxruntime

    spec = find_spec("speechmos")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("DNSMOS needs the speechmos package; pip install speechmos")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        f"{spec.submodule_search_locations[0]}/dnsmos_models/sig_bak_ovr.onnx", options
    )


def log_stft_distance(reference: Wave, decoded: Wave) -> float:
    """Root mean square difference of log magnitudes in dB, spectra of 32 ms, floor -80 dB under the loudest bin."""
    spectra = []
    for wave in (reference, decoded):
        frames = torch.from_numpy(np.asarray(wave, dtype=np.float32)).unfold(0, 512, 128) * torch.hann_window(512)
        spectra.append(torch.fft.rfft(frames).abs())                    # [frames, bins]
    floor = float(spectra[0].max()) * 1e-4 + 1e-8
    first, second = (20 * spectrum.clamp_min(floor).log10() for spectrum in spectra)
    return float((first - second).square().mean().sqrt())


def stream_factor(codec: Codec, wave: Wave) -> float:
    """Seconds of one core per second of audio, encoding and decoding live chunks of 80 ms."""
    chunks = torch.from_numpy(wave).unsqueeze(0).split(round(CHUNK * codec.sample_rate), dim=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        state, begun = codec.start(1), time.process_time()
        for chunk in chunks:
            codes, state = codec.encode_stream(chunk, state)
            _, state = codec.decode_stream(codes, state)
        return (time.process_time() - begun) / (len(wave) / codec.sample_rate)
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=500)                                                 # a sweep hears them once for every codec
def _dnsmos_of_original(wave: bytes) -> float:
    return dnsmos(np.frombuffer(wave, dtype=np.float32))


@lru_cache(maxsize=500)
def _heard_in_original(wave: bytes, sentences: Sentences) -> str:
    return transcribe(np.frombuffer(wave, dtype=np.float32), sentences)


@dataclass
class Scores:
    """Measures of one way to code, clip by clip."""

    stoi: list[float] = field(default_factory=list)
    pesq: list[float] = field(default_factory=list)
    dnsmos: list[float] = field(default_factory=list)
    log_stft_distance: list[float] = field(default_factory=list)
    dnsmos_original: list[float] = field(default_factory=list)
    words: list[tuple[int, int, int]] = field(default_factory=list)     # errors decoded, errors original, words

    def add_to(self, report: Report) -> None:
        """Means with 95 % bootstrap intervals over clips; NaNs, where a measure is undefined, are left out."""
        units = {
            "stoi": (self.stoi, "0..1"),
            "pesq": (self.pesq, "MOS"),
            "dnsmos": (self.dnsmos, "MOS"),
            "dnsmos_original": (self.dnsmos_original, "MOS"),
            "log_stft_distance": (self.log_stft_distance, "dB"),
        }
        for name, (values, unit) in units.items():
            rows = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
            _add(report, name, rows, unit, lambda sample: float(sample.mean()))
        self.add_words_to(report, "wer")

    def add_words_to(self, report: Report, name: str) -> None:
        """Word error rates, alike."""
        words = np.array(self.words, dtype=np.float64).reshape(-1, 3)
        _add(report, f"{name}_decoded_minus_original", words, "share", lambda w: _share(w[:, 0] - w[:, 1], w))
        _add(report, f"{name}_decoded", words, "share", lambda w: _share(w[:, 0], w))
        _add(report, f"{name}_original", words, "share", lambda w: _share(w[:, 1], w))


def compare(
    clips: Sequence[Clip], coded: Callable[[Wave], Wave], sentences: Sentences = (), label: str = "codec eval"
) -> Scores:
    """Scores of `coded`, any function from a 16 kHz wave to its decoded form of about the same length.

    sentences: what the recognizer chooses from (`hearable`); clips with other words then count in no word error.
    """
    scores = Scores()
    for wave, transcript in progress(clips, label, unit="clip"):
        decoded = _as_long(coded(wave), wave)
        scores.stoi.append(stoi(wave, decoded))
        scores.pesq.append(pesq_wb(wave, decoded))
        scores.dnsmos.append(dnsmos(decoded))
        scores.dnsmos_original.append(_dnsmos_of_original(wave.tobytes()))
        scores.log_stft_distance.append(log_stft_distance(wave, decoded))
        _add_words(scores, wave, decoded, transcript, sentences)
    return scores


def compare_words(clips: Sequence[Clip], coded: Callable[[Wave], Wave], sentences: Sentences = ()) -> Scores:
    """Word errors alone, as in `compare`."""
    scores = Scores()
    for wave, transcript in progress(clips, "word errors", unit="clip"):
        _add_words(scores, wave, _as_long(coded(wave), wave), transcript, sentences)
    return scores


def _as_long(decoded: Wave, wave: Wave) -> Wave:
    return np.pad(decoded[: len(wave)], (0, max(0, len(wave) - len(decoded))))


def _add_words(scores: Scores, wave: Wave, decoded: Wave, transcript: str | None, sentences: Sentences) -> None:
    if not transcript or (sentences and spoken(transcript) not in sentences):
        return
    after, words = word_errors(transcript, transcribe(decoded, sentences))
    before, _ = word_errors(transcript, _heard_in_original(wave.tobytes(), sentences))
    scores.words.append((after, before, words))


def evaluate(
    codec: AudioCodec, clips: Sequence[Clip], sentences: Sentences = (), unheard: Sequence[Clip] = ()
) -> Report:
    """All figures of a codec on held-out clips: (16 kHz wave, what is said in it in English, or None).

    unheard: clips of voices that are in no training data; of these word errors alone, as `wer_unheard_…`.

    Word errors are the recognizer's on the decoded clips less its own on the originals; it chooses among `sentences`,
    or hears any words where there are none. A codec that cannot stream has no `stream_rtf`. Raises InputError without
    clips.
    """
    if not clips:
        raise InputError("codec evaluation: there are no clips; give at least one")
    report = Report("tokenizer eval audio")
    bits = codec.codebooks * math.log2(codec.codebook_size) * codec.frame_rate
    report.add("bits_per_second", bits, "bit/s")
    if isinstance(codec, Codec):
        longest = max((wave for wave, _ in clips), key=len)[: 20 * RATE]
        rounds = [stream_factor(codec, longest) for _ in range(4)][1:]  # the first warms up
        report.add("stream_rtf", min(rounds), "of real time", low=min(rounds), high=max(rounds), n=len(rounds))
    else:
        report.add("stream_rtf", None, "of real time")
    compare(clips, lambda wave: through(codec, wave), sentences).add_to(report)
    compare_words(unheard, lambda wave: through(codec, wave), sentences).add_words_to(report, "wer_unheard")
    used = torch.cat([codec.encode(_tensor(codec, wave)).flatten() for wave, _ in clips])
    counts = torch.bincount(used, minlength=codec.codebook_size).double()
    chances = counts[counts > 0] / counts.sum()
    report.add("codes_used", float((counts > 0).double().mean()), "share", n=used.numel())
    report.add("code_entropy", float(-(chances * chances.log2()).sum()), "bit", n=used.numel())
    return report


def _share(errors: NDArray[np.float64], words: NDArray[np.float64]) -> float:
    return float(errors.sum() / words[:, 2].sum())


def through(codec: AudioCodec, wave: Wave) -> Wave:
    """A clip at `RATE`, encoded and decoded, at `RATE` again."""
    decoded = codec.decode(codec.encode(_tensor(codec, wave)))[0].numpy()
    return resample(decoded, codec.sample_rate, RATE)


def _tensor(codec: AudioCodec, wave: Wave) -> torch.Tensor:
    """The clip at the codec's own rate, [1, samples]."""
    return torch.from_numpy(np.ascontiguousarray(resample(wave, RATE, codec.sample_rate))).unsqueeze(0)


def resample(wave: Wave, source: int, target: int) -> Wave:
    """Samples at `source` hertz as samples at `target` hertz; as they are where both are the same."""
    if source == target:
        return wave
    import soxr

    return np.asarray(soxr.resample(wave, source, target), dtype=np.float32)


def _add(report: Report, name: str, rows: NDArray[np.float64], unit: str, statistic: Callable[[Any], float]) -> None:
    if not len(rows):
        report.add(name, None, unit, n=0)
        return
    chance = np.random.default_rng(0)
    drawn = [statistic(rows[chance.integers(len(rows), size=len(rows))]) for _ in range(1000)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    report.add(name, statistic(rows), unit, low=float(low), high=float(high), n=len(rows))
