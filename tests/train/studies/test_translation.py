"""The studies of translation: what they judge, on results whose answer is known, and a small real run of each."""

import dataclasses
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omni.train.fleet import model
from omni.train.fleet.bench import random_corpus
from omni.train.fleet.model import Shape, initial
from omni.train.fleet.pairs import Corpus, Pairs, build_corpus, direction
from omni.train.fleet.trainer import Objective
from omni.train.scaling.fraction import fraction_at
from omni.train.studies.harness.study import Cell, Result, Study
from omni.train.studies.table import STUDIES, load_study
from omni.train.studies.translation import (
    binary,
    epsilon_mbr,
    multilingual_scaling,
    multitask,
    order_matters,
    pools,
)

OURS = [name for name, (module, _) in STUDIES.items() if "translation" in module]


@pytest.mark.parametrize("name", OURS)
def test_a_study_has_a_protocol_and_a_smaller_version(name: str) -> None:
    study = load_study(name)
    quick, full = study.cells(True), study.cells(False)
    assert "Claims" in study.protocol and "Quick" in study.protocol
    for cells in (quick, full):
        assert len({cell.key for cell in cells}) == len(cells)
    assert _work(quick) < _work(full)


def _work(cells: "list[Cell] | Any") -> float:
    return sum(cell.params.get("steps", 0) * cell.params.get("batch", 1) for cell in cells)


def scaling_results(drift: float) -> list[Result]:
    """Losses by the law, with an exponent that changes by `drift` of itself over the weights."""
    results = []
    for seed, size in itertools.product(range(3), (6e3, 2.5e4, 5.5e4, 1e5)):
        random = np.random.default_rng(seed * 1000 + int(size))
        found = {}
        for number, task in enumerate(multilingual_scaling.TASKS["en-xx"]):
            weights = np.array([p if number == 0 else 1 - p for p in multilingual_scaling.WEIGHTS])
            share = np.maximum(fraction_at(weights, 0.05, 1.0, 1.0), 1e-6)
            alpha = 0.25 * (1 + drift * (weights - 0.5) / 0.9)
            found[task] = (25 * (share * size) ** -alpha + 1 + 0.001 * random.normal(size=len(weights))).tolist()
        results.append(Result({"mixture": "en-xx"}, seed, {"parameters": size, **found}, 1.0))
    planted = {"alpha_error": 0.01, "fraction_error": 0.01}
    return [*results, *(Result({"planted": True}, seed, planted, 1.0) for seed in range(3))]


@pytest.mark.slow
@pytest.mark.parametrize(("drift", "verdict"), [(0.0, "shown"), (1.8, "not shown")])
def test_multilingual_scaling_judges_planted_laws(drift: float, verdict: str) -> None:
    """The fits' free floors hide much of a drift (docs/studies/multilingual-scaling.md): a strong one is not shown."""
    claims = multilingual_scaling.judge(scaling_results(drift))
    assert claims[0].verdict == verdict
    assert [claim.seeds for claim in claims] == [3] * 6                 # the tasks of a seed are one observation
    if not drift:
        assert [claim.verdict for claim in claims] == ["shown"] * 6
        assert not any("Into English" in claim.claim for claim in claims)  # nothing into English was run


@pytest.mark.slow
@pytest.mark.parametrize("drift", [0.0, 1.6])
def test_multilingual_scaling_tells_which_law_is_better(drift: float) -> None:
    """By AICc one law for all weights where there is one, one for each where their exponents differ. AIC, which does
    not know how few losses there are, leans to one for each even there, if not by much."""
    ((title, table),) = multilingual_scaling.tables(scaling_results(drift)).items()
    _, *rows = table
    assert [row[:4] for row in rows] == [(task, "8", "18", "24") for task in ("en-fr", "en-is")]
    plain, gaps = ([float(gap) for row in rows for gap in row[column].split()] for column in (6, 7))
    assert len(gaps) == 6 and all((gap > 0) == bool(drift) for gap in gaps)
    k, m, n = 9, 19, 24                                                 # parameters and the errors' variance; losses
    correction = 2 * k * (k + 1) / (n - k - 1) - 2 * m * (m + 1) / (n - m - 1)
    assert gaps == pytest.approx([gap + correction for gap in plain], abs=1)
    assert sum(gap > 0 for gap in plain) >= 4 and (drift or max(plain) < 25)
    assert ("decides" in title) == (not drift) and f"{correction:+.0f}" in title


@pytest.mark.slow
def test_few_sizes_compare_no_laws() -> None:
    few = [one for one in scaling_results(0.0) if one.values.get("parameters") != 2.5e4]
    (table,) = multilingual_scaling.tables(few).values()
    assert [(row[3], *row[6:]) for row in table[1:]] == [("18", "–", "–")] * 2


def test_misaligned_pairs_are_a_quarter_and_none_is_trusted() -> None:
    random = np.random.default_rng(3)
    pairs = Pairs(*(random.integers(3, 9999, (2000, width)) for width in (5, 6)))
    pool, wrong = pools.misaligned(pairs, 1)
    assert len(pool) == 2000 - pools.TRUSTED and wrong.mean() == pytest.approx(pools.WRONG)
    differs = (pool.target != pairs.target[: len(pool)]).any(axis=1)
    np.testing.assert_array_equal(differs, wrong)
    assert sorted(map(tuple, pool.target)) == sorted(map(tuple, pairs.target[: len(pool)]))


def test_the_filter_finds_wrong_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of copied lines, which a small model learns to copy in no time, hardly a wrong one is kept."""
    monkeypatch.setattr(pools, "STEPS", 150)
    monkeypatch.setattr(pools, "TRUSTED", 100)
    lines = random_corpus(vocab=20, length=4, pairs=500).train["copy"]
    corpus = Corpus({"en-fr": lines}, {"en-fr": lines}, 20, 4, random_corpus(20, 4, 1).tokenizer)
    kept, wrong = pools.filtered(corpus, 0)
    assert len(kept) == 300 and wrong < 0.1
    given = {tuple(row) for row in lines.source[:400]}
    assert {tuple(row) for row in kept.source} <= given


@pytest.mark.parametrize(("gap", "verdict"), [(0.02, "shown"), (0.2, "not shown")])
def test_binary_judges_planted_losses(gap: float, verdict: str) -> None:
    """And its products, which are real, show what they must: they need no training."""
    losses = {"float": 2.0, "float + norms": 1.98, "weights": 2.0 * (1 + gap)}
    losses |= {"weights, no norms": 3.2, "weights, bare": 3.5, "weights + inputs": 3.0}
    losses |= {"weights, late": 2.0 * (1 + gap) - 0.01}
    losses |= {"weights, by group": 2.0 * (1 + gap) - 0.02, "weights, distilled": 2.0 * (1 + gap) - 0.1}
    noise = np.array([0.0, 0.001, -0.001])
    results = [Result({"way": way}, 0, {"losses": (loss + noise).tolist()}, 1.0) for way, loss in losses.items()]
    results += [Result({"way": "products"}, seed, {"variances": binary.variances(seed)}, 1.0) for seed in range(3)]
    claims = binary.judge(results)
    assert claims[2].verdict == verdict
    assert [claim.verdict for claim in (*claims[:2], *claims[3:])] == ["shown"] * 8
    assert "3 of 3 seeds" in claims[3].statistic and claims[3].value == pytest.approx(3.2 - 2.0 * (1 + gap))


def test_a_shortcut_without_norms_is_a_one_bit_model_with_a_way_around_its_projections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the shortcut it is the bare one, in losses and gradients; with it, what the definition says."""
    corpus = random_corpus(40, 6, 8)
    pairs = corpus.train["copy"]
    source, target = (torch.from_numpy(side)[None].expand(2, -1, -1) for side in (pairs.source, pairs.target))
    plain = Shape(corpus.vocab, corpus.length, 32, 2, 64, "encdec")
    bare = dataclasses.replace(plain, weight_bits=1)
    weights = {name: value.requires_grad_() for name, value in initial(plain, [0, 1]).items()}

    def loss_and_slopes(objective: Objective) -> tuple[torch.Tensor, list[torch.Tensor]]:
        losses = objective(weights, source, target)
        return losses, list(torch.autograd.grad(losses.sum(), list(weights.values())))

    def around(shape: Shape, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return mixed(shape, q, k, v, *rest) + model._attend(q, k, v, rest[0])

    mixed = model._mixed
    found = loss_and_slopes(binary.through_shortcut(plain))
    monkeypatch.setattr(binary, "PROJECTIONS", ())
    same = loss_and_slopes(binary.through_shortcut(plain))
    wanted_same = loss_and_slopes(partial(model.training_loss, bare))
    monkeypatch.setattr(model, "_mixed", around)
    wanted = loss_and_slopes(partial(model.training_loss, bare))
    torch.testing.assert_close(same, wanted_same)
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found[0], same[0])


def mbr_results(**better: float) -> list[Result]:
    """Lines that differ by far more than ways do; each way is better by so much on every line."""
    lines = np.random.default_rng(0).uniform(10, 90, size=60)
    values = {}
    for way in (epsilon_mbr.BEAM, *epsilon_mbr.WAYS):
        for name in (way, f"one {way}"):
            values[name] = {measure: (lines + better.get(way, 0.0)).tolist() for measure in ("chrf", "bleu")}
    return [Result({}, 0, values, 1.0)]


def test_epsilon_mbr_pairs_its_lines() -> None:
    claims = epsilon_mbr.judge(mbr_results(**{epsilon_mbr.OURS: 1.0}))
    assert [claim.verdict for claim in claims] == ["shown"] * 7


@pytest.mark.parametrize(("seed_sd", "line_sd"), [(1.0, 0.0), (0.0, 3.0), (0.5, 3.0)])
def test_an_interval_is_as_wide_as_models_and_lines_make_it(seed_sd: float, line_sd: float) -> None:
    """Variances of the two add up, that of three models by 2/3, as every bootstrap has it that divides by n."""
    random = np.random.default_rng(1)
    models, lines = random.normal(size=3), random.normal(size=400)
    models, lines = ((one - one.mean()) / one.std() for one in (models, lines))
    found = epsilon_mbr.bootstrapped(seed_sd * models[:, None] + line_sd * lines)
    assert (found.value, found.seeds) == (pytest.approx(0, abs=1e-9), 3)
    if not seed_sd:                                                     # close to normal: 400 lines
        assert found.high - found.low == pytest.approx(2 * 1.96 * line_sd / 20, rel=0.1)
    elif not line_sd:                                                   # of three values, the ends are the extremes
        assert [found.low, found.high] == pytest.approx([models.min(), models.max()])
    else:
        assert found.high - found.low > 2 * 1.96 * line_sd / 20 * 1.5


def test_models_that_disagree_make_a_difference_inconclusive() -> None:
    """Every line of two models says one thing, every line of the third the other: lines alone would be sure."""
    results = [mbr_results(**{epsilon_mbr.OURS: better})[0] for better in (1.0, 1.0, -1.0)]
    assert {claim.verdict for claim in epsilon_mbr.judge(results)} == {"inconclusive"}
    assert {claim.verdict for claim in epsilon_mbr.judge(results[:2])} == {"shown"}


def test_epsilon_is_compared_with_the_papers_nucleus() -> None:
    """At a temperature of 1.5, which heats what the model's own probabilities keep."""
    claims = epsilon_mbr.judge(mbr_results(**{epsilon_mbr.OURS: 1.0, "nucleus 0.9, t=1.5": 2.0, "nucleus 0.9": 3.0}))
    assert [claim.claim for claim in claims if claim.verdict == "not shown"] == [
        "MBR on epsilon samples is above nucleus 0.9, t=1.5 samples"
    ]
    scores = torch.randn(512, generator=torch.Generator().manual_seed(0)) * 3
    hot, plain = (epsilon_mbr.WAYS[way].probabilities(scores) for way in ("nucleus 0.9, t=1.5", "nucleus 0.9"))
    assert torch.equal(hot > 0, plain > 0)
    torch.testing.assert_close((hot / plain**(1 / 1.5))[plain > 0].std(), torch.tensor(0.0), atol=1e-4, rtol=0)


def test_multitask_judges_a_planted_front() -> None:
    """A method far below the weighted sums is found out; those on their front are not."""
    results = []
    for cell in multitask.cells(True):
        weight = 0.5 if cell.params["weight"] is None else cell.params["weight"]
        gain = 0.2 if cell.params["method"] == "mgda" else 0.0
        loss = 1 + 10 * abs(cell.params["lr"] - 0.003) + 0.001 * cell.seed
        test = [loss + (1 - weight) ** 2 - gain, loss + weight**2 - gain]
        values = {"valid": sum(test), "test": test, "end": [one * (1.1 + 0.01 * cell.seed) for one in test]}
        results.append(Result(cell.params, cell.seed, values, 1.0))
    claims = {claim.claim: claim.verdict for claim in load_study("multitask-translation").judge(results)}
    assert claims.pop("mgda does not beat weighted sums") == "not shown"
    assert set(claims.values()) == {"shown"} and len(claims) == 6


@pytest.fixture(scope="module")
def shared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the prepared folder's few lines, with the names of real tasks."""
    folder = tmp_path_factory.mktemp("shared")
    found = build_corpus(prepared, [direction("en-fr"), direction("fr-en")], pieces=300)
    names = ("en-fr", "en-is", "fr-en", "is-en", "fr-is")
    pairs = [list(side.values()) for side in (found.train, found.test)]
    train, test = ({name: side[number % 2] for number, name in enumerate(names)} for side in pairs)
    from dataclasses import replace

    replace(found, train=train, test=test).save(folder / "corpus")
    return folder


TINY: Mapping[str, Mapping[str, Any]] = {
    "multilingual-scaling": {"mixture": "en-xx", "d_model": 16, "steps": 3, "batch": 4},
    "epsilon-mbr": {"steps": 3, "lines": 2, "draws": 4},
    "binary": {"way": "weights, distilled", "d_model": 16, "steps": 6, "seeds": [0, 1]},
    "data-scaling": {"kind": "back", "steps": 6, "data": [2, 3]},
    "multitask-translation": {"method": "graddrop", "weight": None, "lr": 0.003, "steps": 10},
    "lm-architectures": {"kind": "top-only", "tasks": ["en-fr"], "d_model": 16, "steps": 3, "seeds": [0, 1]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_cell_runs_and_repeats_itself(name: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study: Study = load_study(name)
    monkeypatch.setattr(pools, "STEPS", 3)
    first, second = (dict(study.run(TINY[name], 1, shared)) for _ in range(2))
    assert all(values.pop("per_second", 1.0) > 0 for values in (first, second))  # time, not a result
    assert first == second
    assert all(np.isfinite(value).all() for value in first.values() if isinstance(value, list))


def test_recipes_at_the_papers_scale_are_planned(capsys: pytest.CaptureFixture[str]) -> None:
    from omni.cli import main

    found = sorted(Path(order_matters.__file__).parents[1].glob("*/recipes/*.yaml"))
    assert {path.stem for path in found} == set(STUDIES) - {"ablations", "limits", "rates"}  # which are of omni-tiny
    for path in found:
        assert main(["plan", str(path), "--gpus", "8", "--gpu", "h100"]) == 0
        assert "tokens" in capsys.readouterr().out
