import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai import Task
from inspect_ai.log import EvalSample, list_eval_logs, read_eval_log
from inspect_ai.model import ContentText, get_model
from inspect_ai.scorer import Score

from omni.cli import main
from omni.commands.eval_suite import opened
from omni.errors import InputError
from omni.eval.inspected import wishes
from omni.eval.inspected.provider import OmniModel
from omni.eval.suite.compare import compare
from omni.eval.suite.outcome import busy, report
from omni.eval.suite.page import write_page
from omni.eval.suite.run import Plan, run_suite
from omni.eval.tasks.examine import examine
from omni.eval.tasks.records import Record, held_out, records
from omni.eval.tasks.scorers import characters
from omni.files import sha256
from omni.safety.registry import name_picture, text_qa, translate
from omni.train.data.items import Manifest


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "MOST_TOKENS", 4)


@pytest.fixture
def plan(model: Path, data: Path) -> Plan:
    return Plan(get_model(f"omni/{model}"), data, 8, 0, "weights")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of four questions and a malformed one."""
    path = tmp_path / "mine.jsonl"
    lines = [json.dumps({"text": f"owl {number}", "target": "bell", "language": "en"}) for number in range(4)]
    path.write_text("\n".join([*lines, "{"]))
    return path


def test_what_goes_in_is_scored_or_an_error(plan: Plan, rows: Path, tmp_path: Path) -> None:
    (one,) = run_suite([translate], replace(plan, data=rows), tmp_path / "out")
    assert (one.given, one.scored, one.errored, one.missing) == (5, 4, 1, 0)
    assert one.partial and "1 samples could not be asked" in one.note and one.figures["translate_chrf"].n == 4
    figures = report("eval suite", [one]).figures
    assert figures["samples_given"].value == figures["samples_scored"].value + figures["samples_errored"].value


def test_figures_are_broken_down_by_every_group_of_a_users_file(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    subjects = [{"subject": "anatomy" if number < 5 else "law", "year": str(number)} for number in range(11)]
    path.write_text("\n".join(json.dumps({"text": "a", "target": "b", "language": language, "groups": one})
                              for one, language in zip(subjects, 5 * ["en"] + 6 * ["fr"], strict=True)))  # fmt: skip
    (one,) = run_suite([text_qa], replace(plan, data=path, limit=20), tmp_path / "out")
    assert {by: {who: some.n for who, some in rows["accuracy"].items()} for by, rows in one.groups.items()} == {
        "subject": {"anatomy": 5, "law": 6}
    }                                                                   # of a year there is one; languages are figures
    assert (one.figures["text_qa_accuracy_en"].n, one.figures["text_qa_accuracy_fr"].n) == (5, 6)
    assert one.as_dict()["groups"]["subject"]["accuracy"]["law"]["n"] == 6
    write_page(tmp_path / "page.html", "mine", [], [one])
    assert "accuracy, subject anatomy" in (tmp_path / "page.html").read_text("utf-8")


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9))))
def test_samples_that_were_asked_together_take_their_time_once(spans: list[tuple[int, int]]) -> None:
    """Brute force: the seconds of the clock in which at least one was on its way."""
    samples = [
        EvalSample(id=number, epoch=1, input="", target="", started_at=at(begun), completed_at=at(begun + length))
        for number, (begun, length) in enumerate(spans)
    ]
    assert busy(samples) == len({second for begun, length in spans for second in range(begun, begun + length)})


def at(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def test_a_finished_task_is_taken_over_and_another_key_starts_anew(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_suite([translate], plan, tmp_path)[0]
    asked: list[object] = []
    answer = OmniModel._answer
    api = plan.model.api
    monkeypatch.setattr(api._batcher, "_answer", lambda key, some: asked.append(key) or answer(api, key, some))
    again = run_suite([translate], plan, tmp_path)[0]
    assert again.figures == first.figures and not asked
    run_suite([translate], replace(plan, identity="other weights"), tmp_path)
    assert asked


def test_an_interrupted_task_goes_on_with_the_samples_that_are_left(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_suite([text_qa], plan, tmp_path / "whole")[0]
    answer, asked = OmniModel._answer, []

    def failing(self: OmniModel, key: object, some: list[object]) -> object:
        if len(asked) == 3:
            raise ConnectionError("the endpoint is dead")
        asked.append(key)
        return answer(self, (replace(key[0]), object()), some[:1]) if len(some) == 1 else answer(self, key, some)

    monkeypatch.setattr("omni.eval.inspected.provider.ROWS", 1)
    monkeypatch.setattr(plan.model.api._batcher, "_rows", 1)            # one sample a batch, so that some succeed
    monkeypatch.setattr(plan.model.api._batcher, "_answer", lambda key, some: failing(plan.model.api, key, some))
    broken = run_suite([text_qa], plan, tmp_path / "broken")[0]
    assert broken.scored == 3 and broken.errored == broken.given - 3 and broken.partial
    assert "the endpoint is dead" in broken.note
    monkeypatch.setattr(plan.model.api._batcher, "_answer", lambda key, some: answer(plan.model.api, key, some))
    mended = run_suite([text_qa], plan, tmp_path / "broken")[0]
    assert mended.scored == mended.given and mended.figures == whole.figures and not mended.partial


def test_a_suite_that_is_killed_twice_and_then_interrupted_goes_on_with_what_is_not_in_its_logs(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    exit_code: Callable[[Callable[[], object]], int | None],
) -> None:  # fmt: skip
    answer, asked = OmniModel._answer, tmp_path / "asked"
    end = (0, 0, 0)                                                     # question at which a signal comes, once so many
                                                                        # of the samples are in a log

    def answered(self: OmniModel, key: object, some: list[object]) -> object:
        with asked.open("a") as file:
            file.write(f"{len(some)}\n")
        if questions() == end[0]:
            while not reached(end[2]):
                time.sleep(0.1)
            os.kill(os.getpid(), end[1])                                # as the system, or the terminal, does
            time.sleep(1)                                               # this thread is not the one that it reaches
        return answer(self, key, some)

    def questions() -> int:
        return len(asked.read_text().split())

    def suite(out: str) -> int:
        tasks = ["--limit", "9", "--tasks", "translate", "name_picture", "--json"]
        given = ["--model", str(tmp_path / "model"), "--data", str(data)]
        return main(["eval", "suite", "capability", *given, "--out", str(tmp_path / out), *tasks])

    def figures() -> dict[str, object]:
        found = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
        return {name: one for name, one in found.items() if "second" not in name}

    def reached(samples: int) -> bool:
        try:
            return kept() >= samples
        except Exception:                                               # of a log that is just being written
            return False

    def kept() -> int:
        """Samples that some log has."""
        logs = [read_eval_log(info) for info in list_eval_logs(str(tmp_path / "cut" / "logs"))]
        return len({(log.eval.task, one.id) for log in logs for one in log.samples or [] if one.error is None})

    shutil.copytree(model, tmp_path / "model")                          # which no other test has opened
    monkeypatch.setattr("omni.eval.inspected.provider.ROWS", 1)
    monkeypatch.setattr(OmniModel, "_answer", answered)
    assert suite("whole") == 0
    whole = figures()
    assert questions() == 18 == whole["samples_scored"]["value"]
    end = (18 + 9 + 6, signal.SIGKILL, 9 + 3)                           # in the second task
    assert exit_code(lambda: sys.exit(suite("cut"))) == -signal.SIGKILL
    first = kept()
    end = (questions() + 1, signal.SIGKILL, 0)                          # before the log that goes on has anything
    assert exit_code(lambda: sys.exit(suite("cut"))) == -signal.SIGKILL
    assert 9 < first == kept() < 18
    end = (questions() + 2, signal.SIGINT, 0)
    assert exit_code(lambda: sys.exit(suite("cut"))) == 130
    before, left, end = questions(), 18 - kept(), (0, 0, 0)
    assert suite("cut") == 0
    assert figures() == whole
    assert 0 < questions() - before <= left                             # nothing that was kept is asked again


def test_a_run_differs_from_itself_in_nothing_and_from_a_better_one_in_its_wins(plan: Plan, tmp_path: Path) -> None:
    run_suite([name_picture, translate], plan, tmp_path / "a")
    run_suite([name_picture, translate], plan, tmp_path / "b")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert {one.name for one in found} == {"name_picture_accuracy", "translate_chrf", "translate_bleu"}
    assert all(one.change == one.low + one.high == 0 and one.p == 1 for one in found)
    with pytest.raises(InputError, match="no logs of `omni eval suite` there"):
        compare(tmp_path / "a", tmp_path / "nowhere")


def test_samples_of_the_same_name_that_were_asked_differently_are_not_compared(plan: Plan, tmp_path: Path) -> None:
    for name, wanted in (("a", "bell"), ("b", "owl")):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "mine.jsonl"
        path.write_text(json.dumps({"text": "what?", "target": wanted, "language": "en"}))
        run_suite([translate], replace(plan, data=path), tmp_path / name / "out")
    with pytest.raises(InputError, match=r"translate: 1 samples, mine.jsonl:1 first, were asked differently"):
        compare(tmp_path / "a" / "out", tmp_path / "b" / "out")


def test_a_planted_difference_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from omni.eval.suite import compare as module
    from omni.eval.tasks.measures import scored

    def planted(folder: Path) -> tuple[dict[str, dict[str, Score]], dict[str, dict[str, str]]]:
        good = 1.0 if folder.name == "b" else 0.0
        pairs = {str(n): scored("pooled", [3.0 - 2 * good, 4.0], {}, "", 0.0) for n in range(20)}
        shares = {str(n): scored("share", [good if n < 10 else 1.0], {}, "", 0.0) for n in range(20)}
        return {"t_cer": pairs, "t_accuracy": shares}, {}

    monkeypatch.setattr(module, "_read", planted)
    cer, accuracy = compare(tmp_path / "a", tmp_path / "b")
    assert cer.change == pytest.approx(-0.5) and cer.p < 0.01 and cer.high < 0
    assert accuracy.change == 0.5 and accuracy.p == pytest.approx(2 * 2**-10)


def test_the_command_writes_page_figures_and_logs(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "suite", "capability", "--model", str(model), "--data", str(data), "--out", str(tmp_path / "a")]
    assert main([*words, "--limit", "6", "--tasks", "name_picture", "name_emoji", "--json"]) == 0
    out = capsys.readouterr().out
    figures = json.loads(out.splitlines()[-1])["figures"]
    assert figures["name_picture_accuracy"]["n"] == 6 == figures["samples_scored"]["value"]
    assert figures["tasks_left_out"]["value"] == 1 and "partial, name_emoji: " in out
    kept = json.loads((tmp_path / "a" / "suite.json").read_text("utf-8"))
    assert [one["task"] for one in kept["tasks"]] == ["name_picture", "name_emoji"]
    assert kept["command"] == f"omni eval suite capability --model {model} --data {data} --limit 6 --seed 0"
    page = (tmp_path / "a" / "report.html").read_text("utf-8")
    assert "name_picture_accuracy" in page and page.count("<img") >= 6
    assert main(["eval", "compare", str(tmp_path / "a"), str(tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]["name_picture_accuracy_p"]["value"] == 1


def test_the_commands_of_the_documents_work_as_written_where_data_lie_in_the_usual_place(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    words, few = ["eval", "suite"], ["--model", str(model), "--limit", "2", "--json", "--tasks"]
    assert main([*words, "capability", *few, "translate"]) == 2
    assert "no data: name a folder" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert main([*words, "preparedness", *few, "biology"]) == 2
    assert "preparedness: no data ship for it" in capsys.readouterr().err
    assert main([*words, "safety", *few, "should_refuse"]) == 0         # asks what the policy has
    (tmp_path / "runs" / "voiced").symlink_to(data)
    assert main([*words, "capability", *few, "translate"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]["translate_chrf"]["n"] == 2


def test_a_model_by_the_name_that_inspect_has_for_it_is_known_by_its_weights(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = sha256(model / "checksums.json")
    assert opened(f"omni/{model}", None)[1] == opened(str(model), None)[1]
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "omni/yours"):                                 # the second is a folder as it is written
        shutil.copytree(model, tmp_path / name)
    (tmp_path / "omni" / "mine").mkdir()                                # no model, such as a folder of the sources
    for name, path in (("omni/mine", "mine"), ("omni/yours", "omni/yours"), ("omni/omni/yours", "omni/yours")):
        found, identity = opened(name, None)
        assert found.api.model_name == path and identity.startswith(f"{weights} ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model", "nowhere"], "nowhere: no such model folder"),
        (["--model", "omni/nowhere"], "nowhere: no such model folder"),
        (["--model", "nobody/nothing"], "--model nobody/nothing: neither a model folder nor one that Inspect knows"),
        (["--model", "openai/any"], "--model openai/any: Unable to initialise OpenAI client No OPENAI_API_KEY"),
        (["--data", "nowhere"], "nowhere: no prepared data there"),
        (["--data", __file__], "test_suite.py: a file of your own ends in .jsonl or .parquet"),
        (["--tasks", "sing"], "--tasks: capability has no sing"),
        (["--limit", "0"], "--limit: must be 1 or more"),
        (["--jobs", "0"], "--jobs: must be 1 or more"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    flags: list[str], said: str, model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    words = ["eval", "suite", "capability", "--model", str(model), "--data", str(data), "--out", str(tmp_path / "o")]
    assert main([*words, *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "o").exists()


def test_a_task_that_inspect_does_not_take_is_left_out_and_the_others_are_asked(plan: Plan, tmp_path: Path) -> None:
    def twice(data: str, n: int, seed: int) -> Task:
        (first, *_) = records(data, _pairs_of_one, n, seed)
        return examine("twice", [first, first], characters())

    bad, good = run_suite([twice, translate], plan, tmp_path)
    assert bad.given == 0 and "duplicate" in bad.note and good.scored == good.given > 0


def _pairs_of_one(manifest: Manifest) -> Iterator[Record]:
    for item in held_out(manifest, "stamps"):
        yield Record(item.id, item.texts["fr"], (ContentText(text=item.texts["en"]),), "Translate.", "fr")
