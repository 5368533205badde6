"""What the model or a guard finds wrong later names the client's event that it came of."""

from typing import Any

import pytest
from talking import Calm, Talking, only, text

from omni.decode.pipeline import Pipeline
from omni.live.guard import Guards

WRITE: dict[str, Any] = {"output_modalities": ["text"]}


@pytest.mark.parametrize("more", [{}, {"conversation": "none", "input": []}])
def test_a_response_that_fails_names_the_event_that_asked_for_it(talking: Talking, more: dict[str, Any]) -> None:
    for name in ("mine", None):
        events = talking.say("response.create", response={**WRITE, **more}, event_id=name)
        assert only(events, "response.done")["response"]["status"] == "failed"
        assert only(events, "error")["error"]["event_id"] == name


def test_an_item_that_fails_names_the_event_it_came_with(talking: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    talking.say("conversation.item.create", item=text("Hello", id="taken"), event_id="before")
    monkeypatch.setattr(talking.worker.pipeline.tokenizers, "text", None)
    for name in ("mine", None):
        events = talking.say("conversation.item.create", item=text("Hello", id="same"), event_id=name)
        assert only(events, "error")["error"]["event_id"] == name


def test_an_answer_that_a_guard_stops_names_the_event_that_asked_for_it(pipeline: Pipeline) -> None:
    talking = Talking(pipeline, Guards(lambda voice: Calm(), lambda said: "no"))
    talking.say("conversation.item.create", item=text("Hello"), event_id="other")
    events = talking.say("response.create", response=WRITE, event_id="mine")
    error = only(events, "error")["error"]
    assert (error["code"], error["event_id"]) == ("content_filter", "mine")
