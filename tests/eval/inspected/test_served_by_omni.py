"""The tasks of the suite, asked of a real `omni serve`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from inspect_ai.model import get_model

from omni.eval.live.serving import server
from omni.eval.suite.run import Plan, run_suite
from omni.safety.registry import draw, name_picture, speak, transcribe, video

pytestmark = pytest.mark.slow                                           # a server of its own takes seconds to start


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    with server(None, str(model)) as url:
        yield url.replace("ws://", "http://").removesuffix("/realtime")


def test_our_own_server_is_asked_by_the_tasks_that_ask_our_models(address: str, data: Path, tmp_path: Path) -> None:
    plan = Plan(get_model("served/tiny", base_url=address, memoize=False), data, 2, 0, "served")
    heard, named, spoken, drawn, moving = run_suite([transcribe, name_picture, speak, draw, video], plan, tmp_path)
    for one in (heard, named, spoken, drawn):
        assert (one.scored, one.errored) == (2, 0), one.note
    assert {part.type for one in drawn.samples for part in one.output.message.content} == {"image"}
    assert all("audio" in [part.type for part in one.output.message.content] for one in spoken.samples)
    assert (moving.scored, moving.errored) == (0, 2) and not moving.figures
    assert "animation: chat completions have no form for it" in moving.note
