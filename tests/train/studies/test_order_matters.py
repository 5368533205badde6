"""The study order-matters: what it judges on simulated runs, of which it is known whether order matters."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.train.fleet.bench import random_corpus
from omni.train.studies.harness.study import Result
from omni.train.studies.translation import order_matters

losses = st.floats(0, 3)
FULL = (0.01, 0.02, 0.05, 0.1, 0.13, 0.2, 0.34, 0.4)                    # the static shares of the full run


@given(st.lists(st.tuples(losses, losses), max_size=6))
def test_the_dominated_area_is_that_of_a_fine_grid(front: list[tuple[float, float]]) -> None:
    """Inclusion and exclusion of rectangles, instead of a sweep."""
    worst, area = (2.5, 2.5), 0.0
    inside = [point for point in front if point[0] < worst[0] and point[1] < worst[1]]
    for size in range(1, len(inside) + 1):
        for chosen in itertools.combinations(inside, size):
            corner = max(point[0] for point in chosen), max(point[1] for point in chosen)
            area += (-1) ** (size + 1) * (worst[0] - corner[0]) * (worst[1] - corner[1])
    assert order_matters.dominated(front, worst) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize(("steps", "unimax"), [(1500, 0.13), (600, 0.33), (50, 0.5), (9000, 0.03)])
def test_static_shares_follow_from_the_corpus_and_the_budget(steps: int, unimax: float) -> None:
    """UniMax: 8 epochs of 400 pairs, or half of what is drawn; temperature 5 does not ask how long a run is."""
    high, low = 11_800, 400
    drawn = min(steps * 16, 8 * (low + high))                           # the high task has no more, either
    assert unimax == round(min(0.5, 8 * low / drawn), 2)
    tempered = round(low**0.2 / (low**0.2 + high**0.2), 2)
    found = order_matters.static_shares({"en-fr": high, "en-is": low}, steps * 16)
    assert found == sorted([*order_matters.STATIC, unimax, tempered])
    assert (found == list(FULL)) == (steps == 1500)


def test_every_pretrained_run_has_a_restart_and_a_static_one_of_its_seed() -> None:
    plans = [order_matters.planned(FULL, 100, [0.5, 0.8], seed) for seed in range(2)]
    static, *others = ({(way["r"], way["q"]): one for way, one in plans[0] if way["kind"] == kind}
                       for kind in order_matters.KINDS)  # fmt: skip
    again, pretrained, restart = others
    assert {way: [one[way].seed for one in others] for way in again} == {(r, q): [seed] * 3 for r, seed in
            ((0.5, 1), (0.8, 2)) for q in order_matters.JOINT}  # fmt: skip
    assert {member.seed for member in static.values()} == {0} and len(plans[0]) == 32
    assert not {member.seed for _, member in plans[0]} & {member.seed for _, member in plans[1]}
    assert [len(one[0.8, 0.1].phases) for one in others] == [1, 2, 2]
    assert pretrained[0.8, 0.1].phases[0].mixture == (1.0, 0.0) != restart[0.8, 0.1].phases[0].mixture
    assert {member.steps for _, member in plans[0]} == {100}


def order_results(random: np.random.Generator, pretrained: float = 0.0, restart: float = 0.0) -> list[Result]:
    """A study of runs along one curve, each with its own noise; those of two kinds are better by so much in both."""
    better = {"static": 0.0, "static again": 0.0, "pretrained": pretrained, "restart": restart}
    ways = [("static", q, 0.0) for q in FULL]
    ways += [(kind, q, r) for kind in order_matters.KINDS[1:] for r in (0.5, 0.8) for q in order_matters.JOINT]
    results = []
    for seed in range(5):
        runs = []
        for kind, q, r in ways:
            high, low, low_train = np.array([1 + q, 2 - 0.3 * np.log(q), 3.0]) + random.normal(0, 0.03, 3)
            losses = {"high": high - better[kind], "low": low - better[kind], "low_train": low_train + better[kind]}
            runs.append({"kind": kind, "q": q, "r": r, **losses})
        results.append(Result({"fractions": [0.5, 0.8]}, seed, {"runs": runs}, 1.0))
    return results


def verdicts_of_order(studies: int, **better: float) -> list[Counter[str]]:
    """How often each claim had which verdict."""
    random = np.random.default_rng(0)
    judged = [order_matters.judge(order_results(random, **better)) for _ in range(studies)]
    return [Counter(claim.verdict for claim in claims) for claims in zip(*judged, strict=True)]


def test_where_order_does_not_matter_it_is_as_seldom_shown_as_the_interval_says() -> None:
    """Of 400 studies in which all kinds are drawn alike, 2.5 % lie wholly above 0, and as many wholly below."""
    gain, half, trained, held_out = verdicts_of_order(400)
    for claim in (gain, trained, held_out):
        assert claim["shown"] <= 20 and claim["not shown"] <= 20
    assert half["shown"] <= 20


@pytest.mark.parametrize(
    ("pretrained", "restart", "verdicts"),
    [
        (0.1, 0.0, ["shown", "shown", "shown", "shown"]),
        (0.1, 0.1, ["shown", "not shown", "shown", "shown"]),           # a restart alone would have done it
        (-0.1, 0.0, ["not shown", "not shown", "not shown", "not shown"]),
        (-0.1, -0.2, ["not shown", "not shown", "not shown", "not shown"]),  # half of no gain is not explained away
    ],
)
def test_order_matters_judges_planted_gains(pretrained: float, restart: float, verdicts: list[str]) -> None:
    for claim, verdict in zip(verdicts_of_order(20, pretrained=pretrained, restart=restart), verdicts, strict=True):
        assert claim[verdict] >= 18


def test_the_table_tells_what_each_way_is_worth_in_each_loss() -> None:
    (table,) = order_matters.tables(order_results(np.random.default_rng(0), pretrained=0.2)).values()
    worth = {(kind, r): [float(cell.split()[0]) for cell in cells] for kind, r, *cells in table[1:]}
    assert list(worth) == [(kind, r) for kind in ("pretrained", "restart") for r in ("0.5", "0.8")]
    for (kind, _), found in worth.items():
        expected = [-0.2, -0.2, 0.2] if kind == "pretrained" else [0.0, 0.0, 0.0]
        assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.slow
def test_order_matters_runs_and_judges_what_it_measured(tmp_path: Path) -> None:
    copies = random_corpus(vocab=20, length=4, pairs=50)
    tasks = dict.fromkeys(order_matters.TASKS, copies.train["copy"])
    replace(copies, train=tasks, test=tasks).save(tmp_path / "corpus")
    params = {"steps": 10, "fractions": [0.5]}
    results = [Result(params, seed, order_matters.run(params, seed, tmp_path), 1.0) for seed in range(2)]
    runs = results[0].values["runs"]
    assert len(runs) == 20 and all(np.isfinite([run["high"], run["low"], run["low_train"]]).all() for run in runs)
    claims = order_matters.judge(results)
    assert len(claims) == 4 and all(claim.value is not None for claim in claims)
