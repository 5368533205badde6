"""What of an earlier run is taken over, and what is asked again."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from inspect_ai.model import get_model

from omni.eval.inspected import wishes
from omni.eval.inspected.provider import OmniModel
from omni.eval.suite import run
from omni.eval.suite.run import Plan, run_suite
from omni.files import code
from omni.safety.registry import SUITES, draw, name_picture, perplexity, sources, transcribe, translate

Asked = list[int]


@pytest.fixture
def plan(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(wishes, "MOST_TOKENS", 4)
    return Plan(get_model(f"omni/{model}"), data, 8, 0, "weights")


@pytest.fixture
def asked(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], Asked]:
    """Has the model fail, or answer; how many questions of each batch it gets from then on."""

    def having(error: Exception | None) -> Asked:
        seen: Asked = []
        api = plan.model.api
        assert isinstance(api, OmniModel)

        def answer(key: object, some: list[object]) -> object:
            seen.append(len(some))
            if error is not None:
                raise error
            return OmniModel._answer(api, key, some)

        monkeypatch.setattr(api._batcher, "_answer", answer)
        return seen

    return having


def test_a_recording_that_was_replaced_is_asked_about_again(
    plan: Plan, tmp_path: Path, asked: Callable[[Exception | None], Asked]
) -> None:
    soundfile.write(tmp_path / "q.wav", 0.1 * np.sin(np.arange(3200) / 9), 16000)
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"audio": "q.wav", "target": "owl"}))
    own = replace(plan, data=path)
    for replaced in (False, False, True):
        if replaced:
            soundfile.write(tmp_path / "q.wav", 0.1 * np.cos(np.arange(3200) / 9), 16000)
            os.utime(tmp_path / "q.wav", (2e9, 2e9))                    # clocks may be coarse
        seen = asked(None)
        first = not (tmp_path / "out").exists()
        run_suite([transcribe], own, tmp_path / "out")
        assert bool(seen) == (first or replaced)


def test_other_scorers_ask_nothing_again_and_other_weights_do(
    plan: Plan, tmp_path: Path, asked: Callable[[Exception | None], Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [translate, name_picture, draw, perplexity]
    first = run_suite(tasks, plan, tmp_path)
    seen = asked(None)
    monkeypatch.setattr(run, "code_of", lambda sources: "of other scorers")
    again = run_suite(tasks, plan, tmp_path)
    assert not seen and [one.figures for one in again] == [one.figures for one in first]
    assert [one.log for one in again] != [one.log for one in first]     # though all was scored anew
    run_suite([translate], replace(plan, identity="other weights"), tmp_path)
    assert sum(seen) == 8
    run_suite([translate], replace(plan, identity="other weights", seed=1), tmp_path)
    assert sum(seen) == 16                                              # other items, and another seed
    monkeypatch.setattr(run, "code_of", lambda sources: "of others again")
    run_suite([translate], plan, tmp_path / "elsewhere")                # answers belong to a folder
    assert sum(seen) == 24


@pytest.mark.parametrize(("error", "again"), [(KeyError("x"), False), (ConnectionError("gone"), True)])
def test_what_fails_alike_every_time_is_not_asked_again(
    error: Exception, again: bool, plan: Plan, tmp_path: Path, asked: Callable[[Exception | None], Asked]
) -> None:
    asked(error)
    (one,) = run_suite([translate], plan, tmp_path)
    assert one.errored == one.given > 0 and type(error).__name__ in one.note
    seen = asked(None)
    (one,) = run_suite([translate], plan, tmp_path)
    assert bool(seen) == again and (one.errored == 0) == again


def test_all_code_that_figures_depend_on_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    monkeypatch.setattr(run, "code", lambda sources: listed.extend(sources) or "checksum")
    run.code_of([Path("own")])
    root = Path(run.__file__).parents[2]
    answering = ("decode", "tokenizers", "sequence.py", "spelling.py", "vocab.py", "layout.py", "native.py", "native.h")
    parts = ("eval/abilities/scoring.py", "eval/statistics.py", "eval/local.py", "eval/live", *answering)
    assert {root / part for part in parts} <= set(listed) and Path("own") in listed
    assert all(path.exists() for path in listed[:-1])                   # a name that is wrong would be silent


def test_answers_are_kept_by_all_code_that_makes_them(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []
    monkeypatch.setattr(run, "code", lambda sources: listed.extend(sources) or "checksum")
    monkeypatch.setattr(run, "code_of", lambda sources: "of scorers")
    run_suite([translate], plan, tmp_path)
    root = Path(run.__file__).parents[2]
    parts = ("decode", "model", "sequence.py", "native.h", "eval/inspected", "eval/abilities/subject.py")
    assert {root / part for part in parts} <= set(listed) and all(path.exists() for path in listed)


def test_code_is_of_another_version_where_c_is(tmp_path: Path) -> None:
    seen = set()
    for name in ("kernel.c", "native.h", "kernel.py"):
        for text in ("one", "other"):
            (tmp_path / name).write_text(text)
            seen.add(code([tmp_path]))
    assert len(seen) == 6


def test_a_suite_has_the_code_of_what_it_measures() -> None:
    root = Path(run.__file__).parents[2]
    for name, parts in (("live", ("live", "eval/live")), ("preparedness", ("safety/preparedness", "safety/suites"))):
        assert {root / part for part in parts} <= set(sources(name))
    assert all(path.exists() for name in SUITES for path in sources(name))
