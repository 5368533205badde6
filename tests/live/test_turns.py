"""Who has the turn, on real (synthesised) speech in a quiet room."""

from itertools import pairwise

import numpy as np
import pytest
from talking import resampled, silence

from omni.live.hearing.cadence import Cadence
from omni.live.hearing.turns import DOUBT, EAGERNESS, EVEN, HOP, RATE, STEEP, SURE, USUAL, Rules, Turns


def changes(turns: Turns, wave: np.ndarray, chunk: int = HOP) -> list[tuple[str, int, int]]:
    """(kind, at, heard when it was told)."""
    told = []
    for start in range(0, len(wave), chunk):
        told += [(each.kind, each.at, turns.heard) for each in turns.hear(wave[start : start + chunk])]
    return told


@pytest.fixture(scope="session")
def said(spoken: np.ndarray) -> np.ndarray:
    return resampled(spoken, 24_000, RATE)


def around(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate([resampled(silence(0.5), 24_000, RATE), *parts, resampled(silence(2), 24_000, RATE)])


def test_a_turn_begins_with_the_voice_and_ends_after_the_silence_asked_for(said: np.ndarray) -> None:
    wave = around(said)
    told = changes(Turns(Rules(silence_ms=300)), wave)
    kinds = [kind for kind, _, _ in told]
    assert kinds[0] == "started" and kinds[-1] == "ended" and kinds.count("ended") == 1
    start, end = RATE // 2, RATE // 2 + len(said)
    assert abs(told[0][1] - start) < 0.12 * RATE
    _, at, heard = told[-1]
    assert abs(at - end) < 0.06 * RATE
    assert heard - at == 300 * RATE // 1000


def test_a_pause_shorter_than_the_silence_does_not_end_the_turn(said: np.ndarray) -> None:
    pause = resampled(silence(0.25), 24_000, RATE)
    told = [kind for kind, _, _ in changes(Turns(Rules(silence_ms=500)), around(said, pause, said))]
    assert told.count("started") == told.count("ended") == 1
    assert told.count("resumed") >= 1


@pytest.mark.parametrize("wanted", [200, 300, 400])
def test_speech_that_begins_just_before_the_silence_is_long_enough_goes_on_with_the_turn(said, wanted: int) -> None:
    """The network sees it some 40 ms late: then an end would have been declared already."""
    pause = resampled(silence((wanted - 15) / 1000), 24_000, RATE)
    told = changes(Turns(Rules(silence_ms=wanted)), around(said, pause, said))
    assert [kind for kind, _, _ in told].count("ended") == 1


def test_a_sound_that_is_no_speech_holds_an_end_up_for_a_while_only(said: np.ndarray) -> None:
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(3 * RATE) / RATE).astype(np.float32)
    told = changes(Turns(Rules(silence_ms=300)), around(said, resampled(silence(0.25), 24_000, RATE), hum))
    (end,) = [heard - at for kind, at, heard in told if kind == "ended"]
    assert 0.42 * RATE <= end <= 0.48 * RATE


@pytest.mark.parametrize(("odds", "waits"), [(9.0, SURE), (EVEN, SURE + DOUBT / 2), (-9.0, SURE + DOUBT)])
def test_how_it_was_said_decides_how_long_an_end_is_waited_for(
    said: np.ndarray, monkeypatch: pytest.MonkeyPatch, odds: float, waits: float
) -> None:
    monkeypatch.setattr(Cadence, "odds", lambda self, silence: odds)
    turns, wave, waited = Turns(Rules()), around(said), []
    for start in range(0, len(wave), HOP):
        for change in turns.hear(wave[start : start + HOP]):
            if change.kind == "paused":
                turns.ended = 0.5                                       # which says nothing either way
            if change.kind == "ended":
                waited.append((turns.heard - change.at) * 1000 / RATE)
    assert waits - 10 <= waited[-1] <= waits + 30


def test_the_model_has_a_word_in_it() -> None:
    """The surer it is of an end the sooner that comes; where it says nothing, as where it holds the usual."""
    waits = [Rules().needed(EVEN, step / 1000) for step in range(1001)]
    assert all(sooner >= later for sooner, later in pairwise(waits)) and waits[0] - waits[-1] > 50
    assert Rules().needed(EVEN, None) == Rules().needed(EVEN, USUAL)


@pytest.mark.parametrize(
    ("eagerness", "longest"), [("low", 8000), ("medium", 4000), ("high", 2000), ("auto", SURE + DOUBT)]
)
def test_eagerness_bounds_how_long_is_waited_for_a_user_who_goes_on(eagerness: str, longest: int) -> None:
    """The maxima are the protocol's; auto is the curve that was measured."""
    patience, most = EAGERNESS[eagerness]
    rules = Rules(patience=patience, longest_ms=most)
    odds = np.linspace(-20, 20, 1001)
    waits = [rules.needed(each, 0.5) for each in odds]
    assert waits[0] == pytest.approx(longest, rel=1e-3) and waits[-1] == pytest.approx(SURE, abs=0.1)
    assert all(sooner >= later for sooner, later in pairwise(waits))
    doubt = [SURE + DOUBT * patience / (1 + np.exp(STEEP * (each - EVEN))) for each in odds]
    sure = odds > -2                                                    # of no certain pause, so only doubt is added
    assert np.array(waits)[sure] == pytest.approx(np.array(doubt)[sure])
    assert eagerness != "auto" or waits == pytest.approx(doubt)


def test_an_eager_turn_ends_at_last_though_all_hold_that_the_user_goes_on(
    said: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cadence, "odds", lambda self, silence: -20.0)
    patience, most = EAGERNESS["high"]
    turns, wave, waited = Turns(Rules(patience=patience, longest_ms=most)), around(said, around()), None
    for start in range(0, len(wave), HOP):
        for change in turns.hear(wave[start : start + HOP]):
            turns.ended = 0.0 if change.kind == "paused" else turns.ended
            waited = (turns.heard - change.at) * 1000 / RATE if change.kind == "ended" else waited
    assert waited is not None and 1990 <= waited <= 2040


def test_how_the_sound_is_cut_changes_nothing(said: np.ndarray) -> None:
    wave = around(said)
    one, other = Turns(Rules(silence_ms=200)), Turns(Rules(silence_ms=200))
    assert [c[:2] for c in changes(one, wave, 160)] == [c[:2] for c in changes(other, wave, 1237)]


def test_noise_and_clicks_are_no_speech() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(0, 0.02, 2 * RATE).astype(np.float32)
    noise[::4000] = 0.9
    assert changes(Turns(Rules(silence_ms=200)), noise) == []


def test_a_breath_is_not_judged_by_how_the_turn_before_it_ended(
    said: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an onset alone began is over after 0.8 s, though the pause before was surely no end."""
    patience, most = EAGERNESS["high"]
    wave, waited = around(said, around()), dict[float, float]()
    for odds in (-20.0, 20.0):
        monkeypatch.setattr(Cadence, "odds", lambda self, silence, odds=odds: odds)
        turns = Turns(Rules(patience=patience, longest_ms=most))
        turns.hear(np.concatenate((wave, resampled(silence(1), 24_000, RATE))))
        assert not turns.speaking
        turns.speaking, turns._begun = True, turns.heard                # as an onset does, and is over at once
        turns.activity.voiced_until = turns._seen = turns.heard
        while turns.speaking:
            turns.hear(np.zeros(HOP, np.float32))
        waited[odds] = turns.silence
    assert waited[-20.0] == waited[20.0] <= 0.81 * RATE
