"""The study of language-model architectures, on planted losses."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from omni.train.fleet.bench import random_corpus
from omni.train.studies.harness.study import Result
from omni.train.studies.translation import architectures


def architecture_results(gap: float) -> list[Result]:
    """Losses in which a causal mask costs `gap`, more in smaller models, and depth wins 0.05."""
    extra = {"encdec": 0.01, "prefix": 0.0, "top-only": 0.01, "causal": gap, "causal + source": gap + 0.1}
    extra |= {"prefix, deep": -0.05, "causal, deep": gap - 0.05}
    results, noise = [], np.array([0.0, 1e-3, -1e-3])
    for (kind, more), size in itertools.product(extra.items(), (64, 32, 16)):
        found = 3.0 + 32 / size * more + noise * (1 + more)
        values = {"parameters": 28 * size**2, "en-fr": found.tolist()}
        results.append(Result({"kind": kind, "d_model": size, "tasks": ["en-fr"]}, 0, values, 1.0))
    for kind, off in {"encdec": 0.2, "prefix": 0.2, "causal": 0.2 + gap}.items():
        values = {task: [3.0] * 3 for task in (*architectures.MULTILINGUAL, architectures.ZERO_SHOT)}
        values |= {"off target": (off + noise).tolist(), "off target, references": 0.02}
        results.append(Result({"kind": kind, "d_model": 48, "tasks": ["en-fr", "fr-en"]}, 0, values, 1.0))
    return results


@pytest.mark.parametrize(("gap", "verdict"), [(0.2, "shown"), (-0.2, "not shown")])
def test_architectures_judge_planted_gaps(gap: float, verdict: str) -> None:
    verdicts = [claim.verdict for claim in architectures.judge(architecture_results(gap))]
    assert verdicts == [verdict, "shown", verdict, "shown", "shown", verdict, "shown"]


def test_how_a_gap_narrows_is_its_slope_over_doublings() -> None:
    """By hand: 0.2, 0.1 and 0.05 at three sizes lie on no line; the regression's slope is half of 0.05 less 0.2."""
    claims = {claim.claim: claim for claim in architectures.judge(architecture_results(0.2))}
    assert claims["The source loss's gap narrows with size"].value == pytest.approx((0.2 - 0.05) / 2, abs=1e-3)


def test_architectures_tabulate_every_loss_and_direction() -> None:
    single, several = architectures.tables(architecture_results(0.2)).values()
    assert [row[1::-1] for row in single[1:]] == [*itertools.product(("16", "32", "64"), architectures.KINDS)]
    assert single[11] == ("causal", "32", "28,672", "3.200 3.201 3.199", "3.200")
    assert several[0][1:] == ("en-fr", "fr-en", "en-is", "is-en", "fr-is, never trained", "off target")
    assert several[3] == ("causal", *["3.000 3.000 3.000"] * 5, "0.400 0.401 0.399")


def test_architectures_are_drawn_by_their_size(tmp_path: Path) -> None:
    (page,) = architectures.plot(architecture_results(0.2), tmp_path).values()
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_architectures_have_equally_many_parameters(size: int) -> None:
    corpus = random_corpus(40, 6, 1)
    found = [architectures.shape_of(kind, size, corpus).parameters for kind in architectures.KINDS]
    assert max(found) <= 1.02 * min(found)
