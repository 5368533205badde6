"""What data-scaling judges, on losses whose exponents are known."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from omni.train.fleet.pairs import Pairs
from omni.train.scaling import fit
from omni.train.studies.harness.study import Result
from omni.train.studies.translation import data_scaling, pools


def test_data_scaling_judges_planted_exponents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponents that differ by less than 0.05 agree; without noise, their intervals are points and lie apart."""
    monkeypatch.setattr(data_scaling, "RESAMPLES", 10)
    exponents = {"decoder": 0.3, "hybrid": 0.28, "noise": 0.31, "noise 30 %": 0.33, "back": 0.2}
    exponents |= {"misaligned": 0.25, "filtered": 0.27}
    results = [_deep(kind, seed) for kind in data_scaling.LAYERS for seed in range(2)]
    results += [_planted(kind, exponent, seed) for kind, exponent in exponents.items() for seed in range(2)]
    claims = data_scaling.judge(results)
    overlaps = {claim.claim.partition(":")[0]: claim for claim in claims if claim.claim.endswith(": intervals overlap")}
    assert [claim.verdict for claim in claims if claim not in overlaps.values()] == ["shown"] * 9
    apart = {"Noise in the source": 0.01, "Noise in 30 % of it": 0.03, "Filtering": 0.02}
    for claim, gap in ((f"{what} leaves the exponent", gap) for what, gap in apart.items()):
        assert overlaps[claim].verdict == "not shown" and overlaps[claim].value == pytest.approx(gap, abs=0.005)
    head, *rows = data_scaling.tables(results)["The joint form, a row a seed"]
    assert [float(row[head.index("p")]) for row in rows] == pytest.approx([0.3] * 2, abs=0.01)
    few = [one for one in results if one.params["kind"] in data_scaling.QUICK]
    kept = [claim for claim in data_scaling.judge(few) if ": intervals" not in claim.claim]
    assert [claim.verdict for claim in kept] == ["shown"] * 4           # of what it does not run, there is none
    assert not [claim.claim for claim in kept if any(what in claim.claim for what in ("Filter", "Back", "30 %"))]


def test_two_levels_of_noise_are_one_noise_at_two_strengths() -> None:
    """A tenth and three tenths of the tokens differ, those of the tenth in the same way; tags and targets do not."""
    random = np.random.default_rng(3)
    pairs = Pairs(*(random.integers(5, 500, (2000, width)) for width in (8, 9)))
    little, much = (pools.noisy(pairs, 500, 1, share) for share in data_scaling.NOISE.values())
    hit, more = (one.source != pairs.source for one in (little, much))
    assert [hit[:, 1:].mean(), more[:, 1:].mean()] == pytest.approx([0.1, 0.3], abs=0.01)
    assert (more | ~hit).all() and not (hit | more)[:, 0].any()
    np.testing.assert_array_equal(little.source[hit], much.source[hit])
    assert much.target is pairs.target


def test_the_figure_has_a_panel_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_scaling, "RESAMPLES", 2)
    kinds = {cell.params["kind"] for cell in data_scaling.cells(False)}
    assert kinds == {kind for group in data_scaling.GROUPS.values() for kind in group}
    results = [_planted(kind, 0.3, seed, 0.01) for kind in sorted(kinds) for seed in range(2)]
    assert all(path.is_file() for path in data_scaling.plot(results, tmp_path).values())


def test_data_scaling_has_intervals_of_exponents(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundredth of noise, equal exponents' intervals overlap, and the table has them."""
    monkeypatch.setattr(data_scaling, "RESAMPLES", 40)
    results = [_planted(kind, 0.3, seed, 0.01) for kind in ("decoder", "noise") for seed in range(3)]
    claims = {claim.claim: claim for claim in data_scaling.judge(results)}
    found = claims["Noise in the source leaves the exponent: intervals overlap"]
    assert found.verdict == "shown" and found.seeds == 3
    for row in data_scaling.tables(results)["Kinds"][1:]:
        for value, low, high in re.findall(r"(\S+) \[(\S+), (\S+)\]", row[1]):
            assert float(low) <= float(value) <= float(high)
        assert row[1].count("[") == 3


def test_errors_of_one_seed_are_one_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval is that of three seeds, however many kinds each has."""
    monkeypatch.setattr(data_scaling, "RESAMPLES", 2)
    results = [_planted(kind, 0.3, seed, 0.01) for kind in data_scaling.QUICK for seed in range(3)]
    claims = {claim.claim: claim for claim in data_scaling.judge(results)}
    found, errors = claims["The largest D is predicted within 2 %"], np.zeros((3, 4))
    for one in results:
        data, losses = np.array(one.params["data"]), np.array(one.values["losses"])
        fitted = fit({"data": data[:-1], "loss": losses[:-1]}, "data")
        place = data_scaling.QUICK.index(one.params["kind"])
        errors[one.seed, place] = abs(fitted.predict({"data": data[-1:]})[0] / losses[-1] - 1)
    low, high = stats.ttest_1samp(errors.mean(axis=1), 0).confidence_interval(0.95)
    assert (found.seeds, found.low, found.high) == (3, pytest.approx(low), pytest.approx(high))


def _planted(kind: str, exponent: float, seed: int, noise: float = 0.0) -> Result:
    """Losses by the law, with noise of its own in each kind and seed."""
    data = np.array(data_scaling.DATA, np.float64)
    errors = noise * np.random.default_rng([seed, len(kind)]).normal(size=len(data))
    found = 8 * (1 / data + 1e-5) ** exponent * np.exp(errors)
    params = {"kind": kind, "data": list(data_scaling.DATA)}
    return Result(params, seed, {"losses": found.tolist(), "steps": [1] * 5}, 1.0)


def _deep(kind: str, seed: int) -> Result:
    """Losses by the joint form, with a thousandth of noise, the same in every seed: its fits are made once."""
    encoder, decoder = (size * layers for size, layers in zip((12e3, 16e3), data_scaling.LAYERS[kind], strict=True))
    data = np.array(data_scaling.DATA, np.float64)
    noise = 1e-3 * np.random.default_rng(int(encoder + decoder)).normal(size=len(data))
    found = 8 * (1 / data + 0.3 * encoder**-0.4 * decoder**-0.6) ** 0.3 * np.exp(noise)
    values = {"losses": found.tolist(), "encoder": encoder, "decoder": decoder}
    return Result({"kind": kind, "data": list(data_scaling.DATA)}, seed, values, 1.0)
