"""Inspect's command prints a PrerequisiteError's `message`, as rich's markup, and of any other error a traceback."""

from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from rich.markup import render

from omni.errors import InputError
from omni.safety.registry import cybersecurity, redteam, should_refuse, text_qa, text_qa_accents


@pytest.mark.parametrize(
    ("task", "model", "said"),
    [
        ("omni/transcribe", "omni/nowhere", "nowhere: no such model folder"),
        ("omni/transcribe", "served/thing", "served/thing: no address; give --base-url"),
        ("omni/transcribe", "none/none", "nowhere: no prepared data there"),
    ],
)
def test_a_missing_model_address_or_folder_is_a_line_in_inspect(
    task: str, model: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(PrerequisiteError) as told:
        inspect_eval(task, model=model, task_args={"data": "nowhere"}, log_dir=str(tmp_path), display="none")
    assert isinstance(told.value, InputError) and said in str(told.value)
    assert said in render(str(told.value.message)).plain


def test_tasks_that_cannot_be_made_say_so_in_a_line(tmp_path: Path) -> None:
    (path := tmp_path / "[bold].jsonl").write_text("")
    for maker in (text_qa, redteam, should_refuse):
        with pytest.raises(PrerequisiteError, match=r"holds no|no record whose") as told:
            maker(str(path))
        assert "[bold].jsonl" in render(str(told.value.message)).plain  # a name, and no mark of a font
    with pytest.raises(PrerequisiteError, match="cybersecurity: not evaluated"):
        cybersecurity()
    path.write_text('{"text": "Which?", "target": "x", "language": "en"}')
    with pytest.raises(PrerequisiteError, match="none of the 1 questions"):
        text_qa_accents(str(path), accent="xx")
