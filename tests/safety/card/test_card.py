import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from inspect_ai.model import get_model

from omni.cli import _public, main
from omni.errors import InputError
from omni.eval.abilities.scoring import Measure, share
from omni.eval.aloud import convert
from omni.eval.inspected import wishes
from omni.eval.suite.compare import compare
from omni.eval.suite.gaps import add_gaps
from omni.eval.suite.outcome import report
from omni.eval.suite.run import Plan, run_suite
from omni.files import read_json, sha256, write_json
from omni.safety.card.benches import BENCHES
from omni.safety.card.collect import collect, identity
from omni.safety.card.diff import diff
from omni.safety.card.sections import sections
from omni.safety.registry import graders, should_comply, should_refuse, sources, text_qa_aloud, text_qa_channels
from omni.tokenizers.audio.voices import is_installed


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `omni eval suite safety`, of two tasks."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wishes, "MOST_TOKENS", 4)
        plan = Plan(get_model(f"omni/{model}"), None, 5, 0, identity(model), sources("safety"))
        outcomes = run_suite([should_refuse, should_comply], plan, folder)
        write_json(folder / "suite.json", {
            "suite": "safety", "model": "tiny", "command": "omni eval suite safety --seed 7", "key": plan.key(),
            "tasks": [one.as_dict() for one in outcomes],
        })  # fmt: skip
    assert report("x", outcomes).figures["should_refuse_right"].n == 5
    return folder


def bench(path: Path, command: str = "bench guards", **made: object) -> Path:
    figures = {"recall_en": {"value": 0.9, "unit": "share", "low": 0.8, "high": 0.95, "n": 30},
               "false_alarms_en": {"value": 0.1, "unit": "share", "low": 0.0, "high": 0.2, "n": 30}}  # fmt: skip
    path.write_text("a table\n" + json.dumps({"command": command, "figures": figures, "machine": {}, **made}))
    return path


def test_every_figure_leads_to_a_log_beside_the_card(model: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "card"
    mine = tmp_path / "mine"                                            # a run's folder, with its log beside the model
    shutil.copytree(model, mine / "model")
    (mine / "recipe.yaml").write_text("steps: 3\n")
    steps = [{"kind": "train", "step": step, "seconds_per_step": 4.0} for step in (2, 9)]
    (mine / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*steps, {"kind": "valid", "step": 9}]))
    flags = ["--runs", str(run), "--figures", str(bench(tmp_path / "guards.json")), "--out", str(out)]
    assert main(["card", str(mine), *flags]) == 0                       # the run, whose model it is
    card = read_json(out / "card.json")
    assert {"should_refuse_right", "should_comply_right_guarded", "guards_recall_en"} <= set(card["figures"])
    assert all((out / one["source"]).is_file() for one in card["figures"].values() if one["source"])
    made_by = {name: one["command"] for name, one in card["figures"].items()}
    assert made_by["should_refuse_right"] == "omni eval suite safety --seed 7 --tasks should_refuse --out again"
    rows = read_json(out / card["figures"]["should_comply_right_guarded"]["source"])
    held = [bool(row["with"]) for row in rows]
    assert card["figures"]["should_comply_right_guarded"]["value"] == pytest.approx(np.mean(held)) and len(held) == 5
    assert all(row["with"] == (row["without"] and not row["stopped"]) for row in rows)
    assert made_by["should_comply_right_guarded"].startswith(f"omni card {mine / 'model'} --runs {run} --out")
    page = (out / "card.html").read_text("utf-8")
    assert "1.00, by definition" in page and "0.00, by definition" in page
    assert "graded in en, fr, es, ru, it, de by rules" in page
    assert 'href="logs/guards.json"' in page and "the text&#x27;s Hausa is the table&#x27;s Amharic" in page
    assert "<code>inspect view --log-dir logs</code>" in page and "`" not in page.partition("Samples:")[0]
    assert "0.10 [0.05, 0.20]" in page                                  # what the guard lets through
    assert page.count('class="plot"') == 1 and (out / "plots" / "shares.png").read_bytes()[:4] == b"\x89PNG"
    assert 'href="recipe.yaml"' in page and (out / "recipe.yaml").read_text() == "steps: 3\n"
    assert "<td>training</td><td>0.01</td>" in page and "172 capture-the-flag tasks" in page
    assert "77 tasks of 30 families" in page
    loaded = ModelCard.load(out / "README.md")
    assert loaded.data.language == ["en", "fr"] and loaded.data.license_name == "unknown"
    metrics = {one.metric_type: one.metric_value for one in loaded.data.eval_results}
    assert metrics["should_refuse_right"] == card["figures"]["should_refuse_right"]["value"]
    assert not any(name.startswith("guards_") or name.endswith("_baseline") for name in metrics)  # none is the model's
    assert "## Preparedness" in loaded.text
    assert main(["card", "diff", str(out), str(out)]) == 0
    assert all(one.before == one.after and not one.apart for one in diff(out, out))


def test_a_card_has_the_gap_to_english_of_every_figure_with_languages(model: Path, tmp_path: Path) -> None:
    figures = {name: {"value": value, "unit": "share", "low": value - 0.1, "high": value + 0.1, "n": 30}
               for name, value in (("recall_en", 0.9), ("recall_ru", 0.7), ("recall_other", 0.8), ("alarms_fr", 0.1))}
    (tmp_path / "g.json").write_text(json.dumps({"command": "bench guards", "figures": figures}))
    card = collect(model, "tiny", [], [tmp_path / "g.json"], None, tmp_path / "out")
    page = next(one for one in sections(card, model, {}) if one.title == "Languages")
    (table,) = (one for one in page.tables if one.head[0] == "figure")
    ((figure, language, _, _, gap, n, _),) = table.rows
    wide = 0.1 * 2**0.5                                                 # of two intervals as wide as each other
    assert (figure, language, n) == ("guards_recall", "ru", "30")
    assert gap == f"-0.2 [{-0.2 - wide:+.3g}, {-0.2 + wide:+.3g}]"


def test_a_card_tells_what_each_source_of_the_data_gave(model: Path, data: Path, tmp_path: Path) -> None:
    """Two of the four stamps are trained on, each with a second of sound; licences of another model by its own list."""
    whole = tmp_path / "m"
    shutil.copytree(model, whole)
    rows = ["| stamps | CC0 | us | 1200 |", "| stamps | GPL-2.0 | them | 30 |", "| clipart | CC0 | us | 4 |"]
    (whole / "ATTRIBUTION.md").write_text("| source | licence | by | items |\n|---|---|---|---|\n" + "\n".join(rows))
    about = {"suite": "safety", "key": {"model": identity(model), "data": sha256(data / "manifest.json"), "code": ""},
             "data": str(data), "tasks": []}  # fmt: skip
    write_json(tmp_path / "run" / "suite.json", about)
    card = collect(whole, "tiny", [tmp_path / "run"], [], None, tmp_path / "out")
    own, listed, *others = next(one for one in sections(card, whole, {}) if one.title == "Data and training").tables
    assert own.rows == [("stamps", "2", "0.00", "2", "CC0 (2)"), ("all", "2", "0.00", "2", "")]
    assert listed.rows[1] == ("stamps", "1,230", "CC0 (1,200), GPL-2.0 (30)") and listed.rows[2][1] == "1,234"
    assert any(row[0] == "parameters" for row in others[0].rows)
    (whole / "ATTRIBUTION.md").write_text("| stamps | CC0 | us | 2 |\n")
    data_and_training = next(one for one in sections(card, whole, {}) if one.title == "Data and training")
    assert "which are those" in data_and_training.text[0] and len(data_and_training.tables) == 3  # not told twice
    write_json(tmp_path / "run" / "suite.json", {**about, "key": {**about["key"], "data": "of other data"}})
    assert collect(whole, "tiny", [tmp_path / "run"], [], None, tmp_path / "out").folder is None


@pytest.mark.skipif(not is_installed("espeak-ng"), reason="no synthesizer")
def test_a_card_tells_what_each_channel_costs(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "MOST_TOKENS", 4)
    monkeypatch.setattr(convert, "DAMAGED", ("noise", "telephone"))
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(json.dumps({"text": f"What is {n} and one?", "target": str(n)}) for n in range(10)))
    plan = Plan(get_model(f"omni/{model}"), questions, 10, 0, identity(model), sources("capability"))
    outcomes = run_suite([text_qa_aloud, text_qa_channels], plan, tmp_path / "run")
    add_gaps(outcomes)
    write_json(tmp_path / "run" / "suite.json", {
        "suite": "capability", "model": "tiny", "command": "omni eval suite capability", "key": plan.key(),
        "tasks": [one.as_dict() for one in outcomes],
    })  # fmt: skip
    card = collect(model, "tiny", [tmp_path / "run"], [], None, tmp_path / "card")
    counts = {who: one.n for who, one in card.groups["channels"]["text_qa_channels_accuracy"].items()}
    assert counts == {"noise": 5, "telephone": 5}
    gap = card.numbers["text_qa_channels_gap"]
    assert gap.measure.n == 10 and gap.command.endswith("--tasks text_qa_aloud text_qa_channels --out again")
    assert card.numbers["text_qa_channels_accuracy"].command.endswith("--tasks text_qa_channels --out again")
    page = next(one for one in sections(card, model, {}) if one.title == "Text and speech")
    assert [row[0] for row in page.tables[1].rows] == ["noise", "telephone", "log"]


def test_a_card_tells_what_accents_disguises_and_categories_do(model: Path, run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    about = read_json(copied / "suite.json")
    for task in about["tasks"]:
        for by in ("accent", "disguise", "category"):
            task["groups"][by] = {"right": {f"some {by}": vars(Measure(0.25, "share", 0.1, 0.5, 7))}}
    write_json(copied / "suite.json", about)
    card = collect(model, "tiny", [copied], [], None, tmp_path / "out")
    assert card.as_dict()["disguises"]["should_refuse_right"]["some disguise"]["value"] == 0.25
    found = {one.title: one for one in sections(card, model, {})}
    tables = [table for one in found.values() for table in one.tables]
    shown = {table.head[0]: table for table in tables if "should_refuse_right" in table.head}
    for by in ("disguise", "category"):
        assert tuple(shown[by].head[1:]) == ("should_refuse_right", "should_comply_right")
        who, value, _ = shown[by].rows[-2]
        assert (who, value) == (f"some {by}", "0.25 [0.10, 0.50], n=7")
        assert shown[by].rows[-1][1].target == card.numbers["should_refuse_right"].source


def test_a_card_counts_what_the_model_was_asked(model: Path, tmp_path: Path) -> None:
    plan = Plan(get_model(f"omni/{model}"), None, 5, 0, identity(model), sources("safety"))
    outcomes = run_suite([graders], plan, tmp_path / "run")
    write_json(tmp_path / "run" / "suite.json", {
        "suite": "safety", "model": "tiny", "command": "omni eval suite safety", "key": plan.key(),
        "tasks": [one.as_dict() for one in outcomes],
    })  # fmt: skip
    card = collect(model, "tiny", [tmp_path / "run"], [], None, tmp_path / "out")
    assert outcomes[0].given > 100 and "graders_error" in card.numbers and not any(card.counts.values())
    with pytest.raises(InputError, match="no sample in common"):        # nor are they a model's, that two could differ
        compare(tmp_path / "run", tmp_path / "run")


def test_a_card_says_on_its_face_what_is_missing_stale_and_partial(model: Path, run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    about = read_json(run / "suite.json")
    (copied / "logs").mkdir(parents=True)
    about["tasks"][0]["partial"], about["tasks"][0]["note"] = True, "the endpoint died"
    (copied / "logs" / about["tasks"][0]["log"]).write_bytes((run / "logs" / about["tasks"][0]["log"]).read_bytes())
    write_json(copied / "suite.json", {**about, "key": {**about["key"], "code": "older"}})
    card = collect(model, "tiny", [copied, tmp_path / "nowhere"], [tmp_path / "none.json"], None, tmp_path / "out")
    for said in (
        "missing: the log of should_comply", "partial: should_refuse: the endpoint died",
        "stale: suite safety was run by another version of the tasks (should_refuse, should_comply)",
        "stale: the log of should_refuse is of other code", "missing: no logs of should_refuse_aloud, ",
        "nowhere/suite.json is not there",
        f"--out {copied}`", "missing: no suite capability",
        "run `omni eval suite preparedness --data QUESTIONS.jsonl --tasks cybersecurity`",
        "none.json does not end in the figures", "missing: no figures of `omni bench guards",
    ):  # fmt: skip
        assert any(said in problem for problem in card.problems), said
    assert card.overall == "not evaluated" and "should_refuse_right" in card.numbers
    other = {**about, "key": {**about["key"], "model": "other weights"}}
    write_json(copied / "suite.json", other)
    card = collect(model, "tiny", [copied], [], None, tmp_path / "out")
    assert any("run on other weights, and is left out" in problem for problem in card.problems)
    assert not card.numbers


def test_a_suite_asked_task_by_task_is_whole_and_one_that_is_not_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "MOST_TOKENS", 4)
    out, card = tmp_path / "safety", tmp_path / "card"
    words = ["eval", "suite", "safety", "--model", str(model), "--limit", "5", "--out", str(out), "--tasks"]

    def missing() -> str:
        assert main(["card", str(model), "--runs", str(out), "--out", str(card)]) == 0
        return next(one for one in read_json(card / "card.json")["problems"] if "no logs of" in one)

    assert main([*words, "should_comply"]) == 0 == main([*words, "should_refuse"])
    assert [one["task"] for one in read_json(out / "suite.json")["tasks"]] == ["should_refuse", "should_comply"]
    assert "should_comply_right" in (out / "report.html").read_text("utf-8")
    assert "should_refuse," not in missing() and "jailbreaks" in missing() and f"graders --out {out}`" in missing()
    assert missing() in (card / "README.md").read_text("utf-8")
    assert main([*words[:6], "4", *words[7:], "should_refuse"]) == 0    # another plan: what was is not of it
    assert [one["task"] for one in read_json(out / "suite.json")["tasks"]] == ["should_refuse"]
    assert "should_comply, " in missing()


def test_what_the_safety_suite_asks_is_part_of_its_version() -> None:
    """Else figures of older requests, or translations, would be taken for those of today's."""
    from omni.safety import policy

    asked = {policy.FILE, policy.TRANSLATED, Path(policy.__file__)}
    assert asked <= set(sources("safety"))
    assert {one.name for one in asked} <= {Path(one).name for one in BENCHES["guards"].sources}


def test_figures_of_benchmarks_are_stale_where_their_weights_code_or_data_are_others(
    model: Path, tmp_path: Path
) -> None:
    weights, guards = identity(model).split()[0], {"code": BENCHES["guards"].code(), "data": None, "model": None}
    live = {"code": BENCHES["latency"].code(), "data": None, "model": weights}
    for name, command, of, said in (
        ("fresh", "bench guards", guards, None), ("own", "bench latency", live, None),
        ("old", "bench guards", {**guards, "code": "older"}, "stale: old.json: was run by another version of its code"),
        ("other", "bench latency", {**live, "model": "x"}, "stale: other.json: was run on other weights"),
        ("far", "bench latency", {**live, "model": None}, "stale: far.json: measured an address"),
        ("silent", "bench guards", {}, "unchecked: silent.json: does not say which code"),
    ):  # fmt: skip
        path = bench(tmp_path / f"{name}.json", command, of=of, argv=["omni", *command.split(), "--data", "my data"])
        card = collect(model, "tiny", [], [path], None, tmp_path / "out")
        about = [one for one in card.problems if f"{name}.json" in one]
        assert (about == []) if said is None else (len(about) == 1 and about[0].startswith(said))
        figure = card.numbers.get(f"{command.split()[1]}_recall_en")
        assert (figure is None) == (name == "other")                    # another model's figures are none of this one
        assert figure is None or figure.command == f"omni {command} --data 'my data'"


def test_a_report_says_which_command_made_it_and_no_key(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["card", str(model), "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["argv"][:2] == ["omni", "card"]
    assert _public(["bench", "latency", "--key", "secret", "--key=secret"]) == [
        "bench", "latency", "--key", "KEY", "--key=KEY",
    ]  # fmt: skip


def test_cards_differ_where_their_intervals_do_not_touch(tmp_path: Path) -> None:
    for name, hits in (("a", 10), ("b", 90)):
        figures = {"x": vars(share([True] * hits + [False] * (100 - hits))), name: vars(Measure(1, "", 0, 2, 3))}
        write_json(tmp_path / name / "card.json", {"figures": figures})
    found = {one.name: one for one in diff(tmp_path / "a", tmp_path / "b")}
    assert found["x"].apart and (found["a"].after, found["b"].before) == (None, None) and not found["a"].apart
    with pytest.raises(InputError, match="no such file"):
        diff(tmp_path / "a", tmp_path / "c")


def test_third_party_results_need_their_fields(model: Path, tmp_path: Path) -> None:
    rows = [{"who": "METR", "what": "77 tasks", "result": "none", "date": "2024-08"}]
    write_json(tmp_path / "others.json", rows)
    assert collect(model, "t", [], [], tmp_path / "others.json", tmp_path / "out").third_party == rows
    write_json(tmp_path / "others.json", [{"who": "METR"}])
    with pytest.raises(InputError, match="wants a list of objects with date, result, what, who"):
        collect(model, "t", [], [], tmp_path / "others.json", tmp_path / "out")
