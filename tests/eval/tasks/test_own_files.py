"""Tasks whose answers are speech and pictures, over a user's own file."""

import inspect
import json
from pathlib import Path

import inspect_ai
import numpy as np
import pytest
from inspect_ai.log import EvalLog
from PIL import Image

from omni.errors import InputError
from omni.eval.inspected import wishes
from omni.safety.registry import draw, speak


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "MOST_SECONDS", 0.2)


def run(task: inspect_ai.Task, model: Path, folder: Path) -> tuple[EvalLog, dict[str, float], list[str]]:
    """The log, its figures and the errors of its samples."""
    (log,) = inspect_ai.eval(task, model=f"omni/{model}", log_dir=str(folder), display="none", max_retries=1)
    assert log.status == "success" and log.results, log.error
    found = {name: one.value for score in log.results.scores for name, one in score.metrics.items()}
    return log, found, [one.error.message for one in log.samples or [] if one.error]


def written(folder: Path, rows: list[dict[str, object]]) -> str:
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder / "mine.jsonl")


def test_speech_of_a_users_file_is_judged_without_a_baseline(model: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": text, "target": text, "language": "en"} for text in ("A small owl.", "A big dog.", "Xyzzq plugh.")
    ]
    log, found, errors = run(speak(written(tmp_path, rows)), model, tmp_path / "logs")
    assert found["wer_heard_n"] == found["dnsmos_n"] == 2 and not [name for name in found if "baseline" in name]
    assert len(errors) == 1 and "does not know every word of 'Xyzzq plugh.'" in errors[0]
    assert len(log.samples or []) == 3


def test_what_is_heard_of_a_users_file_is_any_of_its_sentences_however_few_are_asked(tmp_path: Path) -> None:
    texts = ("A small owl.", "A big dog.", "A red bird.", "Two green apples.")
    path = written(tmp_path, [{"text": text, "target": text, "language": "en"} for text in texts])
    closed = [inspect.getclosurevars(speak(path, n=n).scorer[0]).nonlocals["closed"] for n in (1, 4)]
    assert closed[0] == closed[1] and len(closed[0]) == len(texts)


def test_what_is_drawn_is_told_from_the_pictures_of_other_records(model: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / f"{number}.png")
    rows: list[dict[str, object]] = [{"text": "an owl", "image": f"{number}.png", "target": ""} for number in range(3)]
    rows += [{"text": "an owl", "target": ""}, {"image": "3.png", "target": ""}]
    log, found, errors = run(draw(written(tmp_path, rows)), model, tmp_path / "logs")
    assert found["retrieval_n"] == 3 and found["retrieval_chance"] == pytest.approx(1 / 4)
    assert found["retrieval_baseline"] == pytest.approx(1 / 4)          # a white sheet is as near to each
    assert len(errors) == 2 and all("needs `text`, what to draw, `image`" in one for one in errors)
    asked = [sample.input[0].content for sample in log.samples or [] if not sample.error]
    assert all([part.type for part in contents] == ["text"] for contents in asked)  # the true picture is not shown


def test_a_file_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds nothing that this task can ask"):
        draw(written(tmp_path, []))
