"""The harness with a study of its own: cells in processes, resuming, protocols, verdicts, the page."""

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from omni.cli import main
from omni.errors import InputError
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.code import code_of
from omni.train.studies.harness.conduct import conduct
from omni.train.studies.table import STUDIES

SOURCE = '''
"""Coins: how often heads."""
import os
from pathlib import Path
import numpy as np
from omni.train.studies.harness.claims import Claim, mean
from omni.train.studies.harness.study import Cell, Study

def cells(quick):
    return [Cell({"p": p}, seed) for p in (0.2, 0.8) for seed in range(2 if quick else 4)]

def run(params, seed, shared):
    with (shared.parent / "ran").open("a") as file:
        file.write("x")
    flips = np.random.default_rng(seed).random(1000) < params["p"]
    return {"heads": float(flips.mean()), "threads": os.environ.get("OMP_NUM_THREADS"), "pid": os.getpid()}

def judge(results):
    often = [result.values["heads"] for result in results if result.params["p"] == 0.8]
    return [Claim.above("heads are frequent", "share of heads", mean(often), 0.5)]

def plot(results, folder):
    from PIL import Image
    Image.new("RGB", (8, 8)).save(folder / "coins.png")
    return {"coins": folder / "coins.png"}

STUDY = Study("Coins", "Bernoulli 1713", "Flip a coin.\\n\\nCount.", cells, run, judge, plot)
'''


@pytest.fixture
def coins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A study in a module that other processes find too."""
    (tmp_path / "coins_study.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(STUDIES, "coins", ("coins_study", "how often heads"))
    return importlib.import_module("coins_study")


def ran(folder: Path) -> int:
    return len((folder / "ran").read_text())


def test_a_study_runs_in_processes_and_resumes(coins: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = conduct("coins", coins.STUDY, folder, tmp_path, jobs=2)
    assert [result.seed for result in done.results] == [0, 1, 2, 3] * 2
    assert {result.values["threads"] for result in done.results} == {"1"}
    assert done.claims[0].verdict == "shown"
    assert ran(folder) == 8
    for path in sorted((folder / "cells").iterdir())[:3]:
        path.unlink()                                                   # as after an interrupt
    again = conduct("coins", coins.STUDY, folder, tmp_path, jobs=1)
    assert ran(folder) == 11
    assert [one.values["heads"] for one in again.results] == [one.values["heads"] for one in done.results]


def test_another_protocol_or_size_is_not_mixed_in(coins: ModuleType, tmp_path: Path) -> None:
    from dataclasses import replace

    conduct("coins", coins.STUDY, tmp_path / "out", tmp_path, quick=True, jobs=1)
    with pytest.raises(InputError, match="another protocol"):
        conduct("coins", replace(coins.STUDY, protocol="Flip twice."), tmp_path / "out", tmp_path, quick=True)
    with pytest.raises(InputError, match="another quick"):
        conduct("coins", coins.STUDY, tmp_path / "out", tmp_path)


def test_results_of_other_code_are_not_mixed_in_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An edit of the study, or of what it imports, is told with the way to go on; one of a comment is none."""
    package = tmp_path / "purse"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "odds.py").write_text("BIAS = 0.0\n")
    (package / "coins.py").write_text(SOURCE.replace("import numpy", "from purse.odds import BIAS\nimport numpy"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(STUDIES, "coins", ("purse.coins", "how often heads"))
    words = ["study", "coins", "--quick", "--jobs", "1", "--out", str(tmp_path / "out")]

    def told(*more: str) -> tuple[int, str]:
        status = main([*words, *more])
        return status, capsys.readouterr().err

    assert told()[0] == 0 and ran(tmp_path / "out") == 4
    assert set(json.loads((tmp_path / "out" / "study.json").read_text())["code"]) == {"purse.coins", "purse.odds"}
    next((tmp_path / "out" / "cells").iterdir()).unlink()                # as after an interrupt
    (package / "odds.py").write_text("BIAS  =  0.0                      # of a fair coin\n")
    assert told()[0] == 0 and ran(tmp_path / "out") == 5
    (package / "odds.py").write_text("BIAS = 0.1\n")
    status, said = told()
    assert status == 2 and "purse.odds changed" in said and "--keep-cells" in said and len(said.splitlines()) == 1
    assert told("--keep-cells")[0] == 0
    assert "Between the cells this code changed: purse.odds" in (tmp_path / "out" / "study.html").read_text()
    assert told()[0] == 0 and ran(tmp_path / "out") == 5                # accepted once, and still said on the page
    about = json.loads((tmp_path / "out" / "study.json").read_text())
    (tmp_path / "out" / "study.json").write_text(json.dumps({**about, "code": None}))
    assert "not noted" in told()[1]                                     # as an omni wrote it that noted none


def test_a_studys_code_is_what_it_imports_and_no_harness() -> None:
    importlib.import_module("omni.train.studies.translation.data_scaling")
    found = set(code_of("omni.train.studies.translation.data_scaling"))
    assert {"omni.train.studies.translation.pools", "omni.train.fleet.trainer", "omni.train.scaling.laws"} < found
    assert not any("harness" in name for name in found) and "omni.train.studies.translation.binary" not in found


def test_the_command_tells_claims_and_writes_the_page(
    coins: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omni.train.studies.table.STUDIES", {"coins": STUDIES["coins"]})
    out = tmp_path / "studies"
    assert main(["study", "all", "--quick", "--jobs", "1", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    (claim,) = said["claims"]
    assert set(claim) == {"study", "claim", "statistic", "value", "low", "high", "seeds", "verdict"}
    assert claim["seeds"] == 2
    assert said["figures"]["shown"]["value"] + said["figures"]["inconclusive"]["value"] == 1
    for page in (out / "study.html", out / "coins" / "study.html"):
        assert "heads are frequent" in page.read_text()
    assert (out / "coins" / "results.md").read_text().splitlines()[4].startswith("| heads are frequent | share of ")
    assert main(["study", "--list"]) == 0
    assert "how often heads" in capsys.readouterr().out


def test_processor_time_is_told_beside_the_clocks(
    coins: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sleeps takes time and no processor; cells that noted none still load, and then none is told."""
    slow = SOURCE.replace("import os\n", "import os\nimport time\n").replace("flips =", "time.sleep(0.2)\n    flips =")
    (tmp_path / "slow_coins.py").write_text(slow)
    monkeypatch.setitem(STUDIES, "coins", ("slow_coins", "how often heads"))
    out = tmp_path / "out"

    def told() -> tuple[dict[str, float | None], str]:
        assert main(["study", "coins", "--quick", "--jobs", "1", "--out", str(out), "--json"]) == 0
        *_, line = lines = capsys.readouterr().out.splitlines()
        figures = json.loads(line)["figures"]
        for page in ("study.html", "results.md"):
            assert next(one for one in lines if one.startswith("4 cells, ")) in (out / page).read_text()
        return {name: figures[name]["value"] for name in ("core_seconds", "wall_seconds")}, "\n".join(lines)

    found, said = told()
    core, wall = found["core_seconds"], found["wall_seconds"]
    assert core is not None and wall is not None and 0 <= core < 0.4 < 0.8 <= wall and "of processor time" in said
    path = next((out / "cells").iterdir())
    kept = json.loads(path.read_text())
    assert kept.pop("processor_seconds") < 0.2 <= kept["seconds"]
    path.write_text(json.dumps(kept))
    found, said = told()
    assert found == {"core_seconds": None, "wall_seconds": wall} and "processor time was not noted" in said


def test_what_went_amiss_is_counted_on_the_page_and_in_the_json(
    coins: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    lost = replace(coins.STUDY, counts=lambda results: {"lost coins": (2, 1000 * len(results))})
    monkeypatch.setattr(coins, "STUDY", lost)
    assert main(["study", "coins", "--quick", "--jobs", "1", "--out", str(tmp_path / "out"), "--json"]) == 0
    told = capsys.readouterr().out.splitlines()
    figure = json.loads(told[-1])["figures"]["lost_coins"]
    assert (figure["value"], figure["n"]) == (2, 4000) and any("lost coins: 2 of 4,000" in line for line in told)
    assert "Lost coins: 2 of 4,000." in (tmp_path / "out" / "study.html").read_text()


def test_a_study_that_cannot_run_does_not_keep_others_from_it(
    coins: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = {name: STUDIES[name] for name in ("multilingual-scaling", "order-matters", "coins")}
    monkeypatch.setattr("omni.train.studies.table.STUDIES", studies)
    words = ["study", "all", "--quick", "--jobs", "1", "--out", str(tmp_path / "studies"), "--json"]
    assert main([*words, "--data", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr()
    assert [claim["study"] for claim in json.loads(said.out.splitlines()[-1])["claims"]] == ["coins"]
    (line,) = (line for line in said.err.splitlines() if line.startswith("omni: "))
    assert "multilingual-scaling, order-matters: " in line and "nowhere" in line and "coins" not in line


KILLED = 'os.kill(os.getpid(), 9) if seed else {"heads": 0.5}'
RAISED = '{}["no such key"]'


@pytest.mark.parametrize(("ending", "said"), [(KILLED, "BrokenProcessPool"), (RAISED, "KeyError")])
def test_a_study_that_breaks_off_does_not_lose_the_others(
    ending: str, said: str, coins: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broken = SOURCE.replace('return {"heads"', f'return {ending}\n    return {{"heads"')
    (tmp_path / f"broken_{said.lower()}.py").write_text(broken)
    studies = {"broken": (f"broken_{said.lower()}", "nothing"), "coins": STUDIES["coins"]}
    monkeypatch.setattr("omni.train.studies.table.STUDIES", studies)
    words = ["study", "all", "--quick", "--jobs", "2", "--out", str(tmp_path / "studies"), "--json"]
    assert main(words) == 2
    told = capsys.readouterr()
    assert [claim["study"] for claim in json.loads(told.out.splitlines()[-1])["claims"]] == ["coins"]
    *_, line = told.err.splitlines()
    assert line.startswith("omni: broken: failed with") and said in line


def test_studies_of_shards_or_voices_are_left_out_of_all_without_them(
    coins: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ablations", "coins", "rates")
    monkeypatch.setattr("omni.train.studies.table.STUDIES", {name: STUDIES[name] for name in names})
    words = ["study", "all", "--quick", "--jobs", "1", "--out", str(tmp_path / "studies"), "--json"]
    assert main(words) == 0
    told = capsys.readouterr().out.splitlines()
    assert [claim["study"] for claim in json.loads(told[-1])["claims"]] == ["coins"]
    assert any(line.startswith("left out: ablations; ") and "--shards" in line for line in told)
    assert any(line.startswith("left out: rates; ") and "`omni data voice`" in line for line in told)
    assert main([*words, "--shards", str(tmp_path / "nowhere")]) == 2
    assert f"omni: ablations: --shards {tmp_path / 'nowhere'}: no token shards" in capsys.readouterr().err
    assert main(["study", "coins", "--shards", str(tmp_path)]) == 2
    assert "takes none" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [(), ("no-such-study",), ("all", "--jobs", "-1"), ("binary", "--axes", "size"), ("binary", "--seeds", "0")]
)
def test_wrong_words_are_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


numbers = st.floats(-100, 100)


@given(numbers, numbers, numbers)
def test_a_verdict_follows_from_the_interval(one: float, other: float, bound: float) -> None:
    low, high = sorted((one, other))
    estimate = Estimate((low + high) / 2, low, high, 3)
    verdict = Claim.above("c", "s", estimate, bound).verdict
    assert verdict == ("shown" if low > bound else "not shown" if high <= bound else "inconclusive")
    mirrored = Claim.below("c", "s", Estimate(-estimate.value, -high, -low, 3), -bound).verdict
    assert mirrored == verdict


def test_estimates_agree_with_scipy() -> None:
    values = [1.0, 2.0, 4.0, 7.0]
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    estimate = mean(values)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert math.isnan(mean([3.0]).low)
    assert Claim.above("c", "s", mean([3.0]), 0).verdict == "inconclusive"
