from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank

from omni.errors import InputError
from omni.tokenizers import resuming
from omni.tokenizers.audio import spelling
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.guidance import Alphabet
from omni.tokenizers.audio.spelling import Lessons, Plan, Spoken, train_words, with_words
from omni.tokenizers.audio.words import HIGHEST, LOWEST, MELS, mel_bank, nearest

SMALL = {"d_model": 16, "d_hop": 16, "encoder_layers": 1, "decoder_layers": 1}
TINY = CodecConfig(frame_rate=25.0, levels=(5, 4), codebooks=2, **SMALL)
SHORT = Plan(seconds=2.0, warmup=5, save_every=0.0)


def codec() -> Codec:
    torch.manual_seed(0)
    return Codec(TINY).eval()


def learnt(seed: int = 0) -> Codec:
    """A codec with words whose codes mean nothing."""
    both = with_words(codec(), "ab").eval()
    assert both.words is not None
    both.words.centres.copy_(torch.rand(20, 6))
    with torch.no_grad():
        both.words.spell.weight.mul_(50)                                # it is sure of what it hears
    return both


def spoken(count: int = 30) -> Spoken:
    """High and low tones, which say "a" and "b"."""
    said = ["ab", "ba", "aa"]
    tones = {"a": 300.0, "b": 900.0}
    time = np.arange(4800) / 16000
    waves = [
        np.concatenate([0.3 * np.sin(2 * np.pi * tones[letter] * time) for letter in said[n % 3]]).astype(np.float32)
        for n in range(count)
    ]
    texts = [said[n % 3] for n in range(count)]
    return Spoken(waves, [len(wave) for wave in waves], texts, [f"v{n % 2}" for n in range(count)])


@pytest.mark.parametrize("chunk", [7, 640, 5000])
def test_a_stream_gives_the_codes_of_the_whole_and_sound_is_what_it_was(chunk: int) -> None:
    plain, both = codec(), learnt()
    wave = 0.1 * torch.randn(1, 20_001)
    codes, state, parts = both.encode(wave), both.start(1), []
    for piece in wave.split(chunk, dim=1):
        some, state = both.encode_stream(piece, state)
        parts.append(some)
    parts.append(both.encode_finish(state)[0])
    assert torch.equal(torch.cat(parts, dim=1), codes)
    assert codes.shape == (1, 32, 3) and both.codebooks == 3
    assert torch.equal(codes[..., 1:], plain.encode(wave))              # words come first
    assert torch.equal(both.decode(codes), plain.decode(codes[..., 1:]))
    assert len(codes[..., 0].unique()) > 2


def test_what_follows_a_recording_changes_none_of_its_codes() -> None:
    both = learnt()
    wave = 0.1 * torch.randn(1, 640 * 20)
    alone, followed = both.encode(wave), both.encode(torch.cat((wave, torch.randn(1, 9000)), dim=1))
    assert torch.equal(alone[:, :-1], followed[:, : alone.shape[1] - 1])  # the last frame hears 26 ms of what follows


def test_mel_bands_are_those_of_transformers() -> None:
    theirs = torch.from_numpy(mel_filter_bank(321, MELS, LOWEST, HIGHEST, 16000, mel_scale="htk")).float()
    torch.testing.assert_close(mel_bank(16000, 321), theirs, atol=1e-5, rtol=1e-4)
    low, high = mel_bank(16000, 321, 0.82), mel_bank(16000, 321, 1.2)
    band = MELS // 2
    assert low[:, band].argmax() < theirs[:, band].argmax() < high[:, band].argmax()


def test_batches_depend_on_seed_and_step_alone() -> None:
    some = Lessons(spoken(), Alphabet(spoken().texts), with_words(codec(), "ab"), SHORT, seed=3)
    again = Lessons(spoken(), Alphabet(spoken().texts), with_words(codec(), "ab"), SHORT, seed=3)
    assert torch.equal(some(5)[0], again(5)[0]) and some(5)[1:] == again(5)[1:]
    assert not torch.equal(some(5)[0], some(6)[0])


def test_speakers_are_heard_by_the_root_of_their_time() -> None:
    waves = [np.zeros(16000, np.float32)] * 10
    few = Spoken(waves, [16000] * 10, ["a"] * 10, ["much"] * 9 + ["little"])
    chance = np.diff(Lessons(few, Alphabet(few.texts), with_words(codec(), "ab"), SHORT, seed=0).upto, prepend=0.0)
    assert chance[:9].sum() / chance[9] == pytest.approx(3.0)


def test_the_codes_of_two_tones_spell_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spelling, "LOG_EVERY", 10)
    some = spoken()
    both = train_words(codec(), some, tmp_path, steps=80, plan=Plan(seconds=1.5, warmup=5))
    history = resuming.read_json(tmp_path / resuming.SUMMARY)["history"]
    assert history[-1]["letters"] < history[0]["letters"] / 2
    assert both.words is not None
    codes = [both.encode(torch.from_numpy(some.waves[n])[None])[0, :, 0] for n in (0, 1)]  # of "ab" and "ba"
    assert [both.words.read(one)[:1] for one in codes] == ["a", "b"]
    before = both.words.spell.weight.clone()
    further = train_words(both, some, tmp_path / "further", steps=20, plan=Plan(seconds=1.5, warmup=5))
    assert further.words is not None and torch.equal(both.words.spell.weight, before)
    assert torch.equal(further.words.centres, both.words.centres) and further.words.letters == both.words.letters
    assert not torch.equal(further.words.spell.weight, before)
    again = [further.encode(torch.from_numpy(some.waves[n])[None])[0] for n in (0, 1)]
    assert [further.words.read(one[:, 0])[:1] for one in again] == ["a", "b"]
    assert torch.equal(again[0][:, 1:], both.encode(torch.from_numpy(some.waves[0])[None])[0, :, 1:])


def test_codes_spell_what_their_centres_are_the_roots_of() -> None:
    both = learnt()
    assert both.words is not None
    sure = torch.eye(3)[[1, 0, 2]]                                      # "a", a blank, "b"
    both.words.centres[:3] = torch.stack([torch.cat((sure[n], sure[m])) for n, m in ((0, 1), (1, 2), (2, 2))])
    assert both.words.read(torch.tensor([0, 1, 2, 1])) == "abb"
    assert both.words.read(torch.tensor([0, 0])) == "aa" and both.words.read(torch.zeros(0, dtype=torch.long)) == ""


def test_centres_lie_in_the_middle_of_what_is_together() -> None:
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = middles.repeat_interleave(50, 0) + 0.1 * torch.randn(150, 2, generator=torch.Generator().manual_seed(1))
    found = spelling.centres_of(points, 3, seed=0)
    torch.testing.assert_close(found[found.sum(1).argsort()][0], points[:50].mean(0))
    assert {int(nearest(middle, found)) for middle in middles} == {0, 1, 2}


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_words(codec(), spoken(), tmp_path / "whole", steps=6, plan=SHORT)
    monkeypatch.setattr(spelling, "LOG_EVERY", 2)
    step = spelling._step

    def interrupted(run: spelling.Run, plan: Plan, lesson: spelling.Lesson) -> float:
        if run.step == 5:
            raise KeyboardInterrupt
        return step(run, plan, lesson)

    monkeypatch.setattr(spelling, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_words(codec(), spoken(), tmp_path / "parts", steps=6, plan=SHORT)
    assert not (tmp_path / "parts" / "config.json").exists()
    monkeypatch.setattr(spelling, "_step", step)
    assert train_words(codec(), spoken(), tmp_path / "parts", steps=6, plan=SHORT).fingerprint == whole.fingerprint
    assert Codec.load(tmp_path / "parts").fingerprint == whole.fingerprint


def test_what_cannot_have_words_is_refused() -> None:
    with pytest.raises(InputError, match="words already"):
        with_words(with_words(codec(), "ab"), "ab")
    with pytest.raises(InputError, match="often enough"):
        with_words(codec(), "")
    with pytest.raises(InputError, match="even number of hops"):
        CodecConfig(frame_rate=100.0, codebooks=2, words="ab")
    with pytest.raises(InputError, match="codebooks=2"):
        CodecConfig(words="ab")
    with pytest.raises(InputError, match="no speech with a transcript"):
        Spoken([], [], [], [])
