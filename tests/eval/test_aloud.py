"""Questions read aloud: who else talks, in which accents, and what it costs."""

import json
from pathlib import Path

import numpy as np
import pytest
from inspect_ai import Task
from inspect_ai.log import EvalSample
from inspect_ai.model import ContentText, get_model
from scipy.signal import fftconvolve

from omni.errors import InputError
from omni.eval.aloud.channels import NAMES, sent
from omni.eval.aloud.convert import ACCENTS, aloud, say, text_qa_accents, text_qa_aloud, voices
from omni.eval.inspected import wishes
from omni.eval.inspected.messages import read_sound
from omni.eval.suite.gaps import add_gaps
from omni.eval.suite.outcome import Outcome
from omni.eval.suite.run import Plan, run_suite
from omni.eval.tasks.examine import examine
from omni.eval.tasks.measures import scored
from omni.eval.tasks.records import Record
from omni.eval.tasks.scorers import characters
from omni.safety.registry import text_qa
from omni.tokenizers.audio.voices import is_installed

needs_voice = pytest.mark.skipif(not is_installed("espeak-ng"), reason="no synthesizer")
RATE = 16000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNI_CACHE", str(tmp_path / "cache"))


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def test_the_other_talker_is_ten_decibels_softer_and_goes_on_as_long() -> None:
    wave = tone(440)
    heard = sent(wave, RATE, "crosstalk", 1, lambda: 0.01 * tone(700, 0.25)) - wave
    assert len(heard) == len(wave)
    assert 10 * np.log10(np.mean(wave**2) / np.mean(heard**2)) == pytest.approx(10, abs=0.2)
    assert np.fft.rfftfreq(len(heard), 1 / RATE)[np.abs(np.fft.rfft(heard)).argmax()] == pytest.approx(700, abs=5)
    with pytest.raises(InputError, match="nobody else says anything"):
        sent(wave, RATE, "crosstalk", 1)
    assert "crosstalk" in NAMES


def questions(*texts: str) -> Task:
    return examine("t", [Record(str(n), "owl", (ContentText(text=one),), "", "en") for n, one in enumerate(texts)],
                   characters())  # fmt: skip


@needs_voice
def test_cross_talk_is_another_voice_with_another_question() -> None:
    texts = ("What is two and three?", "Which day comes after Monday?")
    pairs = zip(aloud(questions(*texts)).dataset, aloud(questions(*texts), "crosstalk").dataset, strict=True)
    for clean, crossed in pairs:
        first, second = (read_sound(one.input[0].content[0])[0] for one in (clean, crossed))
        added, other = second - first, texts[1 - int(clean.id)]
        who = {str(voice) for voice in voices("en") if _holds(added, say(other, voice, "en"))}
        assert len(who) == 1 and who != {clean.metadata["groups"]["speaker"]}
        assert not _holds(added, first[::-1])                           # it is not himself, backwards
    (alone,) = aloud(questions("What is two and three?"), "crosstalk").dataset
    assert "nobody else says anything" in alone.metadata["bad"]


def _holds(added: np.ndarray, other: np.ndarray) -> bool:
    """Whether a sound is another one, softer, from some moment on and over and over: by normalized correlation."""
    part = added[: len(added) // 2].astype(np.float64)
    looped = np.resize(other, len(part) + len(other)).astype(np.float64)
    energy = fftconvolve(looped**2, np.ones(len(part)), "valid").clip(1e-9) * (part**2).sum()
    return bool((fftconvolve(looped, part[::-1], "valid") / np.sqrt(energy)).max() > 0.98)


@needs_voice
def test_accents_take_turns_and_are_groups(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "MOST_TOKENS", 4)
    path = tmp_path / "mine.jsonl"
    rows = [{"text": f"What is {n} and one?", "target": str(n), "language": "en"} for n in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    plan = Plan(get_model(f"omni/{model}"), path, 30, 0, "weights")
    written, clean, accented = outcomes = run_suite([text_qa, text_qa_aloud, text_qa_accents], plan, tmp_path / "out")
    add_gaps(outcomes)
    counts = {who: one.n for who, one in accented.groups["accent"]["accuracy"].items()}
    assert set(counts) == set(ACCENTS["en"]) and sum(counts.values()) == 30
    for one, other in ((clean, written), (accented, clean)):
        gap, name = one.figures[f"{one.task}_gap"], "accuracy"
        difference = one.figures[f"{one.task}_{name}"].value - other.figures[f"{other.task}_{name}"].value
        assert gap.n == 30 and gap.value == pytest.approx(difference) and gap.low <= gap.value <= gap.high
    assert {who: one.n for who, one in accented.groups["accent"]["gap"].items()} == counts
    assert "text_qa_gap" not in written.figures and "text_qa_aloud_gap" in clean.as_dict()["figures"]


def test_a_gap_is_paired_and_each_channel_has_its_own() -> None:
    """What is lost is lost in noise alone, and what a task has without a counterpart is in no gap."""

    def asked(task: str, values: list[float]) -> Outcome:
        meta = [{"groups": {"channel": ("noise", "room")[n % 2]}} for n in range(len(values))]
        scores = [{"right": scored("share", [one], of, "", one)} for one, of in zip(values, meta, strict=True)]
        return Outcome(task, samples=[
            EvalSample(id=n, epoch=1, input="?", target="!", scores=one) for n, one in enumerate(scores)
        ])  # fmt: skip

    clean = asked("t_aloud", [1.0] * 20)
    damaged = asked("t_channels", [float(n % 2) for n in range(20)] + [1.0] * 2)
    add_gaps([damaged, clean])
    gaps = damaged.groups["channel"]["gap"]
    assert {who: (one.value, one.n) for who, one in gaps.items()} == {"noise": (-1.0, 10), "room": (0.0, 10)}
    whole = damaged.figures["t_channels_gap"]
    assert (whole.value, whole.n) == (-0.5, 20) and whole.low < -0.5 < whole.high < 0
    assert gaps["noise"].low == -1.0 and gaps["noise"].high < -0.5 and not clean.figures
    assert gaps["room"].low == -gaps["room"].high < 0                   # ten that agree do not prove that all do


@needs_voice
def test_one_accent_may_be_asked_for_and_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"text": "What is two and three?", "target": "five", "language": "en"}))
    (scottish,) = text_qa_accents(str(path), accent="en-gb-scotland").dataset
    (american,) = text_qa_accents(str(path), accent="en-us").dataset
    first, second = (read_sound(one.input[0].content[0])[0] for one in (scottish, american))
    assert len(first) != len(second) or not np.allclose(first, second, atol=0.05)
    (unknown,) = text_qa_accents(str(path), accent="en-mars").dataset
    assert "espeak-ng has no voice en-mars" in unknown.metadata["bad"]
    with pytest.raises(InputError, match="accent=fr-be: none of the 1 questions is in that language"):
        text_qa_accents(str(path), accent="fr-be")
