"""Which answers to questions count as right."""

import json
from pathlib import Path

import inspect_ai
import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage, get_model

from omni.eval.abilities.scoring import alike, same
from omni.eval.tasks.scorers import close
from omni.safety.registry import text_qa


@pytest.mark.parametrize(
    ("said", "wanted", "good"),
    [
        ("Seven!", "seven", True), ("seventeen", "seven", False), ("seventy", "seven", False), ("17", "7", False),
        ("Un petit hibou.", "un petit hibou", True), ("Un petit hiboux", "un petit hibou", True),
        ("a tall glass of water 7", "a tall glass of water", False),
        ("the room number 17", "the room number 7", False), ("the big room number 7", "the room number 7", True),
    ],
)  # fmt: skip
def test_an_answer_that_is_close_has_several_words_and_the_same_digits(said: str, wanted: str, good: bool) -> None:
    assert close(said, wanted) == good


def scores(task: Task, folder: Path, answers: dict[str, str]) -> dict[str, float]:
    """Of samples by what they want, given what is answered to each question."""

    def answer(asked: list[ChatMessage], *rest: object) -> ModelOutput:
        made = ModelOutput.from_content("mock", answers[asked[-1].text])
        return made.model_copy(update={"usage": ModelUsage()})          # else Inspect counts by a downloaded vocabulary

    model = get_model("mockllm/model", custom_outputs=answer, memoize=False)
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(folder), display="none")
    assert log.status == "success", log.error
    return {str(one.target): float(one.scores["accuracy"].value) for one in log.samples or []}


def test_an_answer_that_is_accepted_is_right(tmp_path: Path) -> None:
    rows = [
        {"text": "four and four?", "target": "8", "accepted": ["eight", "acht"]}, {"text": "and one?", "target": "9"},
    ]  # fmt: skip
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = text_qa(str(tmp_path / "mine.jsonl"))
    assert scores(task, tmp_path / "a", {"four and four?": "Eight.", "and one?": "nine"}) == {"8": 1, "9": 0}
    assert scores(task, tmp_path / "b", {"four and four?": "eighty", "and one?": "9"}) == {"8": 0, "9": 1}


def test_a_question_is_asked_once_however_many_voices_ask_it(data: Path) -> None:
    """Inspect takes no two samples of a name, and would leave the whole task out."""
    names = [str(one.id) for one in text_qa(str(data), n=None).dataset]
    assert len(names) == len(set(names)) > 3


def test_another_number_that_looks_alike_is_wrong(data: Path, tmp_path: Path) -> None:
    task = text_qa(str(data), n=None)
    wanted = {str(one.target) for one in task.dataset}
    confused = {
        one.input[-1].text: (one, other) for one in task.dataset for other in sorted(wanted)
        if len(one.input[-1].content) == 1 and alike(other, str(one.target)) and not same(other, str(one.target))
    }  # fmt: skip
    asked = [one for one, _ in confused.values()]
    assert {"seven", "eight"} & {str(one.target) for one in asked}      # for which `seventeen` and `eighteen` are said
    counting, *_ = asked
    counting.target = "one, two, three"                                 # what a line of several words is like
    confused[counting.input[-1].text] = counting, "one, two, three, four"
    task.dataset = MemoryDataset(asked)
    found = scores(task, tmp_path, {text: other for text, (_, other) in confused.items()})
    assert len(found) > 3 and not any(found.values())
    assert all(scores(task, tmp_path, {text: str(one.target) for text, (one, _) in confused.items()}).values())


def test_answers_of_a_users_file_may_differ_a_little_where_they_are_of_several_words(tmp_path: Path) -> None:
    said = {"a?": "seventeen", "b?": "A little owl in the wood", "c?": "twenty owls in 17 trees"}
    wanted = {"a?": "seven", "b?": "a little owl in a wood", "c?": "twenty owls in 7 trees"}
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "target": target}) for text, target in wanted.items()))
    found = scores(text_qa(str(path)), tmp_path / "logs", said)
    assert found == {wanted["a?"]: 0.0, wanted["b?"]: 1.0, wanted["c?"]: 0.0}
