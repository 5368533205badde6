import numpy as np
import pytest

from omni.eval.abilities.scoring import (
    alike,
    character_errors,
    chosen,
    chosen_freely,
    corpus_chrf,
    error_rate,
    log_mean_exp,
    majority,
    normal,
    same,
    share,
    statistic,
)  # fmt: skip
from omni.eval.statistics import wilson


def test_case_and_punctuation_do_not_count() -> None:
    assert normal("  L'Hibou,\u00a0là — non? ") == "l hibou là non"
    assert same("Oui.", "oui") and not same("où", "ou")
    assert character_errors("An OWL", "an owl.") == (0, 6)
    assert character_errors("", "deux") == (4, 4) and character_errors("dieux", "Deux!") == (1, 4)


def test_errors_are_pooled_over_characters() -> None:
    measure = error_rate([(0, 90), (5, 10)])
    assert measure.value == 0.05 and measure.low == 0 and measure.high == 0.5 and measure.n == 2


def test_a_share_has_wilsons_interval() -> None:
    measure = share([True, True, False, True], 0.25)
    assert (measure.value, measure.n, measure.chance) == (0.75, 4, 0.25)
    assert (measure.low, measure.high) == pytest.approx((0.3006, 0.9544), abs=1e-4)


def test_a_few_observations_that_are_all_alike_are_no_certainty() -> None:
    for errors in (0, 4):
        found, share_of = error_rate([(errors, 4)] * 3), wilson(3 * errors / 4, 3)
        assert (found.low, found.high) == pytest.approx(share_of) and found.low < found.high
    worst = corpus_chrf(["xyz"] * 4, ["abc"] * 4)
    assert (worst.low, worst.high) == pytest.approx((0, 100 * wilson(0, 4)[1]))
    assert statistic(np.zeros((3, 1)), lambda rows: float(rows.mean()), "ms").high == 0  # of which there is no most


def test_chrf_is_100_for_the_reference_and_its_interval_holds_it() -> None:
    texts = ["a small owl", "the moon", "a bell"]
    assert corpus_chrf(texts, texts).value == pytest.approx(100)
    measure = corpus_chrf(["a small owl", "a noon", "ball"], texts)
    assert measure.low < measure.value < measure.high and measure.n == 3


def test_near_equal_refusals_are_alike() -> None:
    refusal = "I can't tell who is speaking from a voice."
    assert alike("I can't tell who is speaking by a voice", refusal) and not alike("A small owl.", refusal)


def test_an_answer_that_is_likely_everywhere_loses_its_advantage() -> None:
    scores = np.array([[-2.0, -1.0], [-9.0, -1.5]])                     # the second column always wins
    assert chosen(scores) == [False, True] and chosen_freely(scores) == [True, True]


def test_guessing_and_the_mean_of_likelihoods() -> None:
    assert majority(["no", "yes", "no", "no"]) == 0.75
    assert log_mean_exp(np.log([0.1, 0.3])) == pytest.approx(np.log(0.2))
    assert log_mean_exp(np.array([-1e4, -1e4])) == pytest.approx(-1e4)
