"""Which of a folder's logs are compared."""

import json
from pathlib import Path

import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from omni.errors import InputError
from omni.eval.suite.compare import compare
from omni.eval.suite.run import Plan, run_suite
from omni.safety.registry import text_qa


def test_the_logs_that_the_figures_rest_on_are_compared_and_not_newer_ones(tmp_path: Path) -> None:
    path, out = tmp_path / "mine.jsonl", tmp_path / "out"
    path.write_text("\n".join(json.dumps({"text": f"what {n}?", "target": "owl"}) for n in range(4)))

    def ran(said: str) -> str:
        made = ModelOutput.from_content("mock", said).model_copy(update={"usage": ModelUsage()})
        model = get_model("mockllm/model", custom_outputs=lambda *asked: made, memoize=False)
        (one,) = run_suite([text_qa], Plan(model, path, 4, 0, said), out)
        return one.log

    right = ran("owl")
    tasks = [{"task": "text_qa", "log": right}, {"task": "draw", "log": ""}]
    (out / "suite.json").write_text(json.dumps({"suite": "capability", "key": {}, "tasks": tasks}))
    assert ran("bell") != right
    (accuracy,) = compare(out, out)
    assert accuracy.first == 1.0
    (out / "suite.json").rename(out / "kept.json")
    assert compare(out, out)[0].first == 0.0                            # of logs alone, the newest
    (out / "kept.json").rename(out / "suite.json")
    (out / "logs" / right).unlink()
    with pytest.raises(InputError, match="names this log, and it is gone; run the suite again"):
        compare(out, out)
