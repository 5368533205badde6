import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from omni.cli import main
from omni.files import read_json
from omni.safety.card.collect import collect, identity


def asked(suite: str, task: str, model: Path, file: Path, out: Path) -> str:
    """The folder of a suite that asked a user's own file."""
    file.write_text("".join(json.dumps({"text": f"{n} or {n + 1}?", "target": str(n)}) + "\n" for n in range(2)))
    words = ["eval", "suite", suite, "--tasks", task, "--model", str(model), "--data", str(file), "--out", str(out)]
    assert main(words) == 0
    return str(out)


def test_figures_of_a_users_files_are_named_by_them(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else one file's figures stand for another's, or for those of held-out items, whose baselines stay."""
    runs = [asked("capability", "text_qa", model, tmp_path / f"{name}.jsonl", tmp_path / name)
            for name in ("mmlu", "arc")]  # fmt: skip
    runs += [asked("preparedness", task, model, tmp_path / f"{task}.jsonl", tmp_path / task)
             for task in ("biology", "autonomy")]  # fmt: skip
    card = tmp_path / "card"
    assert main(["card", str(model), "--runs", *runs, "--out", str(card)]) == 0
    about = read_json(card / "card.json")
    assert {"mmlu/text_qa_accuracy", "arc/text_qa_accuracy", "biology_consensus"} <= set(about["figures"])
    assert "mmlu.jsonl" in about["figures"]["mmlu/text_qa_accuracy"]["command"]
    absent = [one for one in about["problems"] if one.startswith("missing: no logs of")]
    assert absent == ["missing: no logs of cybersecurity, persuasion, arguments; run `omni eval suite preparedness"
                      " --data FILE --tasks cybersecurity persuasion arguments --out FOLDER`"]  # fmt: skip
    assert any(one.startswith("missing: no suite capability") for one in about["problems"])
    results = {one.metric_type: one for one in ModelCard.load(card / "README.md").data.eval_results}
    named = results["mmlu/text_qa_accuracy"]
    assert (named.dataset_name, named.task_type) == ("mmlu", "question-answering")
    assert results["biology_consensus"].dataset_name == "biology"
    capsys.readouterr()
    assert main(["card", str(model), "--runs", runs[0], runs[0], "--out", str(card)]) == 2
    assert "mmlu/text_qa is in another of these folders too" in capsys.readouterr().err


def test_what_is_no_suite_is_refused_in_a_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "suite.json").write_text("{}")
    for words in (["card", str(model), "--runs", str(tmp_path), "--out", str(tmp_path / "card")],
                  ["eval", "compare", str(tmp_path), str(tmp_path)]):  # fmt: skip
        assert main(words) == 2
        assert "suite.json: not what `omni eval suite` writes" in capsys.readouterr().err


def test_a_card_says_that_its_suites_asked_different_data(model: Path, tmp_path: Path) -> None:
    for suite in ("capability", "safety"):
        key = {"model": identity(model), "data": f"data of {suite}", "code": ""}
        (tmp_path / suite).mkdir()
        (tmp_path / suite / "suite.json").write_text(json.dumps({"suite": suite, "key": key, "tasks": []}))
    card = collect(model, "tiny", [tmp_path / "capability", tmp_path / "safety"], [], None, tmp_path / "card")
    assert "other data: suite safety asked another data folder than a suite before it" in card.problems
