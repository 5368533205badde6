"""How the live benchmarks set up and sum up what they measure."""

import json

import numpy as np
import pytest

from omni.eval.live.latency import ENDS, LONG, Turn, at_length, figures
from omni.eval.live.recordings import RATE, Question, of_length


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


@pytest.mark.parametrize(("count", "turns", "ends"), [(3, 6, 3), (15, 25, 10), (200, LONG, ENDS)])
def test_a_long_conversation_ends_with_the_questions_of_its_beginning(count: int, turns: int, ends: int) -> None:
    asked = at_length([said(0.4, seed) for seed in range(count)])
    names = [question.name for question in asked]
    assert len(names) == turns and names[:ends] == names[-ends:] and len(set(names)) == turns - ends
    slower = [turn(100.0 + number) for number in range(turns)]
    found = json.loads(figures([turn(150)], [], slower).json())["figures"]["conversation_effect_ms"]
    assert found["value"] == pytest.approx(turns - ends) and found["n"] == ends
