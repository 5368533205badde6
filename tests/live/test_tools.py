"""Functions of the client that the model may call."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import Talking, kinds, only, refused, text

from omni.live.engine import messages
from omni.live.protocol import tools

WEATHER = {"type": "function", "name": "weather", "description": "Of a city.", "parameters": {"type": "object"}}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'


def test_a_call_of_a_function_is_an_item_and_what_it_returns_is_answered(talking: Talking) -> None:
    """omni-tiny never calls one, so what a model that does would write is put into its mouth."""
    talking.say("session.update", session={"type": "realtime", "tools": [WEATHER], "output_modalities": ["text"]})
    talking.say("conversation.item.create", item=text("How is the weather in Paris?"))
    mark = len(talking.events)
    talking.session.take(json.dumps({"type": "response.create"}))
    answer = talking.session.speaking.current.id
    for letters in (CALL[:5], CALL[5:30], CALL[30:]):
        talking.session.told(messages.Said("talk", answer, letters))
    talking.session.told(messages.Ended("talk", answer, {"text": 9}, {"text": 9}, False))
    events = talking.events[mark:]
    assert kinds(events) == [
        "response.created", "response.output_item.added", "conversation.item.added",
        "response.function_call_arguments.delta", "response.function_call_arguments.done",
        "conversation.item.done", "response.output_item.done", "response.done",
    ]  # fmt: skip
    (call,) = only(events, "response.done")["response"]["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    assert json.loads(call["arguments"]) == {"city": "Paris"}
    talking.say("response.cancel", response_id=answer)
    returned = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    talking.say("conversation.item.create", item=returned)
    done = only(talking.say("response.create"), "response.done")["response"]
    assert done["status"] == "completed"


@pytest.mark.parametrize(
    ("choice", "told"),
    [("auto", ("may call", "weather", "clock")), ("none", ()), ("required", ("must call", "weather", "clock")),
     ({"type": "function", "name": "clock"}, ("must call", "clock"))],
)  # fmt: skip
def test_the_model_is_told_of_the_functions_that_are_chosen(talking: Talking, choice, told: tuple[str, ...]) -> None:
    tools = [WEATHER, {**WEATHER, "name": "clock"}]
    talking.say("session.update", session={"type": "realtime", "tools": tools, "tool_choice": choice})
    talking.say("conversation.item.create", item=text("Hello"))
    talking.raw(json.dumps({"type": "response.create"}), steps=0)
    said = "".join(talking.worker.pipeline.tokenizers.text.decode(each.codes.tolist()) for each in talking.talk.system)
    assert {word for word in ("may call", "must call", "weather", "clock") if word in said} == set(told)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x.example"}]}, "session.tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "clock"}}, "session.tool_choice"),
    ],
)
def test_functions_that_cannot_be_called_are_refused(talking: Talking, change: dict, param: str) -> None:
    assert refused(talking.say("session.update", session={"type": "realtime", **change}))["param"] == param


@given(st.sampled_from([CALL, CALL + " and more", "<tool_call>no", "It rains.", "", "  <tool"]), st.data())
def test_outside_of_a_session_a_call_comes_whole_and_all_else_as_it_was_said(written: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=5)))
    pieces = [written[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    said = [messages.Said("talk", "answer", piece) for piece in pieces]
    said.append(messages.Ended("talk", "answer", {"text": 9}, {"text": 9}, False))

    async def come() -> AsyncIterator[messages.Told]:
        for one in said:
            yield one

    async def all_of() -> list[object]:
        return [one async for one in tools.called(come(), [WEATHER])]

    found = asyncio.run(all_of())
    if written == CALL:
        call, end = found
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Paris"})
        assert end is said[-1]
    else:
        assert found == said
