import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from omni.cli import main
from omni.decode.pipeline import Pipeline
from omni.errors import InputError
from omni.eval.abilities import evaluate, subject
from omni.eval.abilities.evaluate import PARTS, Part, identity
from omni.eval.abilities.parts import refusals, sounds, speaking
from omni.eval.abilities.report import GOALS, page, table
from omni.eval.abilities.scoring import Result, share
from omni.eval.abilities.subject import Question, Subject
from omni.train.data.items import Manifest


@pytest.fixture
def asked(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """Answers are short, and noise stands in for flite, which need not be installed."""
    noise = np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32)
    monkeypatch.setattr(subject, "MOST_TOKENS", 4)
    monkeypatch.setattr(subject, "MOST_SECONDS", 0.2)
    monkeypatch.setattr(speaking, "dnsmos", lambda wave: 3.0)           # 0.3 s a clip
    monkeypatch.setattr(subject, "is_installed", lambda engine: True)
    monkeypatch.setattr(subject, "read_aloud", lambda texts, voice: [(noise, 16000) for _ in texts])
    return Subject(Pipeline.load(model), Manifest.load(data), ("en", "fr"), 10)


@pytest.mark.slow
def test_every_goal_is_measured_and_beside_it_on_trained_items(asked: Subject, tmp_path: Path) -> None:
    results = evaluate.evaluate(asked, {"seed": 0}, tmp_path)
    measures = {name: one for result in results.values() for name, one in result.measures.items()}
    assert not [result.note for result in results.values() if result.note and "numbers or letters" not in result.note]
    assert set(GOALS) <= set(measures)
    assert {f"{name}_train" for name in GOALS if name != "speed_x_realtime"} <= set(measures)
    for name, one in measures.items():
        assert one.n > 0 and one.low <= one.value + 1e-9 and one.value <= one.high + 1e-9, name
    assert measures["name_picture_at10"].n == 10 and measures["spoken_vqa_accuracy"].n >= 6
    assert all(name in table(results) and name in page(results, "") for name in GOALS)


def test_samples_are_held_out_or_trained_and_people_are_told_from_synthesizers(asked: Subject) -> None:
    trained = replace(asked, trained=True)
    assert {item.split for item in asked.items("stamps")} == {"test"}
    assert {item.split for item in trained.items("stamps")} == {"train"}
    (item, *_) = asked.items("stamps")
    assert [one.speaker for one in asked.recordings(item)] == ["stamps/en", "stamps/fr"]
    assert asked.voice("en") == "clara" and asked.voice("fr") == "lena"


def test_ten_captions_are_distinct_and_no_stamp_is_asked_about_twice(asked: Subject) -> None:
    tens = replace(asked, limit=30).tens(("en", "fr"), "any")
    names = [item.id for ten in tens for item in ten.items]
    assert len(tens) == 3 and len(set(names)) == 30 and all(len(set(ten.captions)) == 10 for ten in tens)
    few = replace(asked, manifest=Manifest.load(asked.manifest.folder))
    few.manifest.items = few.manifest.items[:35]
    with pytest.raises(InputError, match="fewer than ten"):
        few.tens(("en",), "any")


def test_likelihoods_are_means_over_the_tokens_of_a_choice(asked: Subject) -> None:
    question = Question((asked.picture(asked.items("stamps")[0]),), "en")
    sums = asked.pipeline.score(question.parts, [subject.Text("owl")], "en")
    assert asked.likelihoods(question, ["owl"])[0] == pytest.approx(sums[0] / 5)  # o, w, l and the two closing tokens


def test_answers_come_in_the_order_of_the_questions(asked: Subject) -> None:
    questions = [Question((subject.Text(text),), language) for text in ("a", "bb") for language in ("fr", "en", None)]
    together = asked.texts(questions)
    assert together == [asked.texts([question])[0] for question in questions]


def test_refusals_and_answers_are_counted_apart(asked: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "I can't tell who is speaking from a voice."
    monkeypatch.setattr(Subject, "texts", lambda self, questions: [refusal] * len(questions))
    measures = refusals.requests(asked).measures
    assert measures["should_refuse"].value == 1 and measures["should_comply"].value == 0
    monkeypatch.setattr(Subject, "texts", lambda self, questions: ["A small owl."] * len(questions))
    measures = refusals.requests(asked).measures
    assert measures["should_refuse"].value == 0 and measures["should_comply"].value == 1


def test_a_sounds_class_is_its_folder(asked: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = {text for item in asked.manifest.of(split="train", source="stamps") for text in item.texts.values()}

    def likelihoods(self: Subject, question: Question, choices: list[str]) -> np.ndarray:
        assert set(choices) <= trained and len(choices) == 10
        return np.arange(10.0)                                          # the last class is always the likeliest

    monkeypatch.setattr(Subject, "likelihoods", likelihoods)
    result = sounds.effects(asked)
    assert result.measures["sound_accuracy"].chance == 0.2
    assert {example["answered"] for example in result.examples} == {"vehicles"}


def test_an_interrupted_run_goes_on_and_another_model_starts_anew(asked: Subject, tmp_path: Path) -> None:
    runs: list[str] = []

    def good(who: Subject) -> Result:
        runs.append("good")
        return Result({"good": share([True])}, [{"asked": "a", "answered": "b", "wanted": "c"}])

    def broken(who: Subject) -> Result:
        runs.append("broken")
        if runs.count("broken") == 1:
            raise KeyboardInterrupt
        raise InputError("the model has no voice")

    parts = (Part("good", good, twice=False), Part("broken", broken, twice=False))
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(asked, {"seed": 0}, tmp_path, parts)
    results = evaluate.evaluate(asked, {"seed": 0}, tmp_path, parts)
    assert runs == ["good", "broken", "broken"]
    assert results["good"].measures["good"].n == 1 and results["good"].examples[0]["answered"] == "b"
    assert results["broken"].note == "the model has no voice"
    evaluate.evaluate(asked, {"seed": 1}, tmp_path, parts)
    assert runs[3:] == ["good", "broken"]


def test_results_belong_to_a_model_its_data_and_how_they_were_asked(asked: Subject, model: Path) -> None:
    key = identity(model, asked)
    assert key == identity(model, replace(asked))
    assert all(key != identity(model, replace(asked, **{name: 12})) for name in ("limit", "seed"))


def test_the_command_writes_its_table_and_its_figures(
    asked: Subject, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(evaluate, "PARTS", PARTS[5:6])
    monkeypatch.setattr(evaluate.evaluate, "__defaults__", (PARTS[5:6],))
    words = ["eval", "abilities", "--model", str(model), "--data", str(data), "--out", str(tmp_path), "--limit", "10"]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["chrf_captions"]["n"] == 10 and figures["chrf_captions_train"]["n"] == 10
    assert figures["cer_captions"]["value"] is None
    kept = json.loads((tmp_path / "abilities.json").read_text("utf-8"))
    assert kept["goals"]["chrf_captions"]["met"] is False and len(kept["examples"]["captions translated"]) == 8
    assert "| chrf_captions " in (tmp_path / "abilities.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model", "nowhere"], "nowhere: no such model folder"),
        (["--data", "nowhere"], "nowhere: no prepared data there"),
        (["--languages", "en", "xx"], "--languages: the model has no xx; it has en, fr"),
        (["--limit", "3"], "--limit: must be 10 or more"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    flags: list[str], said: str, model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "abilities", "--model", str(model), "--data", str(data), "--out", str(tmp_path / "out"), *flags]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_or_interrupted_goes_on_and_ends_as_one_that_was_not(
    number: int, asked: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    exit_code: Callable[[Callable[[], object]], int | None],
) -> None:  # fmt: skip
    parts = [part for part in PARTS if part.name in ("pictures named", "captions translated", "requests")]
    texts, log = Subject.texts, tmp_path / "log"
    end = 0                                                             # the batch at which it ends

    def answered(self: Subject, questions: list[Question]) -> list[str]:
        with log.open("a") as file:
            file.write(f"{len(questions)}\n")
        if len(log.read_text().split()) == end:
            texts(self, questions[:1])
            os.kill(os.getpid(), number)                                # as the system, or the terminal, does
        return texts(self, questions)

    def run(out: str) -> dict[str, dict[str, object]]:
        results = evaluate.evaluate(asked, {"seed": 0}, tmp_path / out, tuple(parts))
        return {name: {**asdict(result), "seconds": 0} for name, result in results.items()}

    monkeypatch.setattr(Subject, "texts", answered)
    whole = run("whole")
    batches = log.read_text().split()
    end = len(batches) + 2                                              # in the second part that is answered in texts
    assert exit_code(lambda: run("cut")) == (-number if number == signal.SIGKILL else 1)
    kept = sorted(path.name for path in (tmp_path / "cut").iterdir())
    assert kept == ["captions-translated.json", "pictures-named.json"]
    assert run("cut") == whole
    asked_anew = log.read_text().split()[end:]
    assert asked_anew == batches[1:]                                    # all but what was finished, in the same order
