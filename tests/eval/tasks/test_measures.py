"""Figures beside the answers' own: intervals, groups, baselines, and what was no answer."""

import json
import math
from collections import Counter
from pathlib import Path

import inspect_ai
import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import SampleScore
from scipy.stats import binomtest

from omni.eval.abilities.scoring import normal
from omni.eval.suite.outcome import outcome
from omni.eval.suite.page import write_page
from omni.eval.tasks.measures import figures, measured, scored
from omni.eval.tasks.records import Record, most_often_right
from omni.safety.registry import name_picture, text_qa, video
from omni.train.data.items import Manifest


def test_shares_have_wilsons_interval_and_groups_are_shown_from_five_on() -> None:
    rows = [("en", 1)] * 4 + [("en", 0)] * 2 + [("fr", 1)] * 4
    scores = [
        scored("share", [good], {"groups": {"language": who}}, "", good, [0.0], chance=0.25) for who, good in rows
    ]
    found = figures("accuracy", scores)
    exact = binomtest(8, 10).proportion_ci(method="wilson")
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((exact.low, exact.high), abs=1e-6)
    assert found["accuracy"].chance == 0.25 and found["accuracy_baseline"].value == 0
    assert found["accuracy_en"].value == pytest.approx(4 / 6) and "accuracy_fr" not in found
    flat = measured("accuracy")([SampleScore(score=one) for one in scores])
    assert flat["accuracy_n"] == 10 and flat["accuracy_en_n"] == 6 and flat["accuracy_chance"] == 0.25
    assert flat["accuracy_en_baseline"] == 0 and flat["accuracy_en_baseline_n"] == 6
    assert figures("accuracy", []) == {}


def test_answers_that_name_no_choice_are_a_share_of_their_own(tmp_path: Path) -> None:
    said = iter(["A", "the bell", "no idea", "owl", "", "B"])
    rows = [{"text": "which?", "target": "owl", "choices": ["owl", "bell"]}] * 6 + [{"text": "and?", "target": "no"}]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def answer(*asked: object) -> ModelOutput:
        made = ModelOutput.from_content("mock", next(said, "whatever"))
        return made.model_copy(update={"usage": ModelUsage()})          # else Inspect counts by a downloaded vocabulary

    (log,) = inspect_ai.eval(
        text_qa(str(tmp_path / "mine.jsonl")), model=get_model("mockllm/model", custom_outputs=answer),
        log_dir=str(tmp_path / "logs"), display="none", max_connections=1,
    )  # fmt: skip
    answers = [one.output.completion for one in log.samples or [] if one.metadata["choices"]]
    lost = sum(one not in ("A", "B", "the bell", "owl") for one in answers)
    found = outcome("text_qa", log)
    share, exact = found.figures["text_qa_accuracy_unparsable"], binomtest(lost, 6).proportion_ci(method="wilson")
    assert (share.value, share.n) == (lost / 6, 6) and lost in (1, 2)   # the question without choices may take one
    assert (share.low, share.high) == pytest.approx((exact.low, exact.high), abs=1e-6)
    write_page(tmp_path / "page.html", "mine", [], [found])
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.index("text_qa_accuracy_unparsable") < page.index("Samples")  # beside the figure itself


def test_the_baseline_of_pictures_is_the_choice_of_the_most_usual_words(data: Path) -> None:
    trained = [normal(item.texts["en"]) for item in Manifest.load(data).of(split="train", source="stamps")]
    counts = Counter(" ".join(trained).split())
    english = [one.metadata for one in name_picture(str(data), n=30).dataset if one.metadata["language"] == "en"]
    assert english                                                      # all of three words
    for meta in english:
        usual = [math.prod(counts[word] + 1 for word in normal(one).split()) for one in meta["choices"]]
        assert usual[meta["choices"].index(meta["baseline"])] == max(usual)


def test_what_is_most_often_right_is_counted_over_all_that_are_alike(data: Path) -> None:
    made = [Record(str(n), right, language=who, choices=kept) for n, (right, who, kept) in enumerate([
        ("a", "en", ()), ("b", "en", ()), ("b", "en", ()), ("c", "fr", ()), ("a", "en", ("c", "a")),
    ])]  # fmt: skip
    found = [one.baseline for one in most_often_right(made, lambda one: one.language)]
    assert found == ["a", "a", "a", "c", "a"] or found == ["b", "b", "b", "c", "a"]  # a and b are right twice each
    moving = video(str(data), n=None).dataset
    for language in ("en", "fr"):
        of = [one for one in moving if one.metadata["language"] == language]
        counts = Counter(str(one.target) for one in of)
        assert len({one.metadata["baseline"] for one in of}) <= 1
        assert all(counts[one.metadata["baseline"]] == max(counts.values()) for one in of)
