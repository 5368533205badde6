"""How the live benchmarks set up and sum up what they measure."""

import json

import numpy as np
import pytest

from omni.decode.pipeline import Pipeline
from omni.eval.live import sessions, turns
from omni.eval.live.client import last_voiced
from omni.eval.live.latency import ENDS, LONG, Turn, at_length, figures
from omni.eval.live.recordings import RATE, Question, of_length
from omni.live.hearing.cadence import Cadence
from omni.live.hearing.turns import DOUBT, EVEN, SURE


def said(seconds: float, seed: int) -> Question:
    wave = np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)
    return Question(f"said {seed}", wave, 0.3 if seed == 2 else 0.0)


@pytest.mark.parametrize("number", [0, 3, 12])
def test_questions_of_two_lengths_end_alike(number: int) -> None:
    pool = [said(0.4 + 0.3 * seed, seed) for seed in range(5)]
    short, long = (of_length(pool, seconds, number) for seconds in (1.0, 20.0))
    assert (len(short.wave), len(long.wave)) == (RATE, 20 * RATE)
    assert np.array_equal(short.wave, long.wave[-RATE:])
    last = next(each for each in (*pool[number % 5 :], *pool) if each.pause < 0.1).wave
    assert np.array_equal(short.wave[-len(last) :], last[-RATE:])


def turn(latency: float | None) -> Turn:
    return Turn("turn", 1.0, 0.0, latency, None, None, None, None, False)


def test_the_effect_of_length_is_that_of_pairs_both_of_which_were_answered() -> None:
    effect = [turn(each) for each in (100, 110, None, 900, 200, 230)]
    found = json.loads(figures([turn(150)], effect).json())["figures"]["length_effect_ms"]
    assert found["value"] == pytest.approx(20) and found["n"] == 2


def test_the_effect_of_length_is_told_where_it_is_not_known() -> None:
    found = json.loads(figures([turn(150)], [turn(None), turn(100)]).json())["figures"]["length_effect_ms"]
    assert found["value"] is None and found["n"] == 0


@pytest.mark.parametrize(("count", "length", "ends"), [(3, 6, 3), (15, 25, 10), (200, LONG, ENDS)])
def test_a_long_conversation_ends_with_the_questions_of_its_beginning(count: int, length: int, ends: int) -> None:
    asked = at_length([said(0.4, seed) for seed in range(count)])
    names = [question.name for question in asked]
    assert len(names) == length and names[:ends] == names[-ends:] and len(set(names)) == length - ends
    slower = [turn(100.0 + number) for number in range(length)]
    found = json.loads(figures([turn(150)], [], slower).json())["figures"]["conversation_effect_ms"]
    assert found["value"] == pytest.approx(length - ends) and found["n"] == ends


@pytest.mark.parametrize(("odds", "pause", "early", "delay"), [
    (9.0, 0.25, True, SURE), (-9.0, 0.25, False, SURE + DOUBT), (-9.0, 0.8, True, SURE + DOUBT),
    (EVEN, 0.0, False, SURE + DOUBT / 2),
])  # fmt: skip
def test_a_recording_ends_as_long_after_its_voice_as_it_sounds_like_an_end(
    pipeline: Pipeline, spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    odds: float, pause: float, early: bool, delay: float,
) -> None:  # fmt: skip
    monkeypatch.setattr(Cadence, "odds", lambda self, silence: odds)
    once = spoken[: last_voiced(spoken)]
    wave = once if not pause else np.concatenate((once, np.zeros(int(pause * RATE), np.float32), once))
    heard: list[int] = []

    def judge(codes: np.ndarray) -> float | None:
        heard.append(len(codes))
        return 0.5

    codec = pipeline.tokenizers.audio
    assert codec is not None
    turn = turns.one_turn(Question("said", wave, pause), codec, judge, np.random.default_rng(0))  # type: ignore[arg-type]
    assert turn.false_start is early
    assert turn.delay_ms == pytest.approx(delay, abs=60)
    assert bool(heard) is (odds <= EVEN)                                # where an end is plain, the model is not asked
    assert all(frames > 10 for frames in heard[:1])                     # from before the first voice


def test_turns_are_summed_up_with_those_that_pause_by_themselves() -> None:
    ended = (("a", 0.0, 200.0, False), ("b", 0.3, 400.0, True), ("c", 0.3, None, False))
    found = [turns.Ended(*one) for one in ended]
    told = json.loads(turns.figures(found, [found[0], found[1], found[0], found[2]]).json())["figures"]
    assert (told["length_effect_ms"]["value"], told["length_effect_ms"]["n"]) == (200, 1)
    assert told["delay_ms"]["value"] == 300 and told["delay_ms_with_pauses"]["value"] == 400
    assert told["false_start_rate"]["value"] == pytest.approx(1 / 3) and told["unended"]["value"] == 1
    assert told["false_start_rate_with_pauses"] | {"low": 0, "high": 0} == {
        "value": 0.5, "unit": "1", "low": 0, "high": 0, "n": 2}  # fmt: skip
    none = json.loads(turns.figures(found[:1], []).json())["figures"]
    assert none["delay_ms_with_pauses"]["value"] is None and none["length_effect_ms"]["low"] is None


def test_a_level_tells_how_many_answers_its_latency_is_of() -> None:
    level = sessions.Level(2, 5, 0, 0.0, 9.0, 300.0, 400.0, 3)
    told = json.loads(sessions.figures([level]).json())["figures"]
    assert (told["p50_ms_at_2"]["n"], told["gaps_at_2"]["n"]) == (3, 5)
