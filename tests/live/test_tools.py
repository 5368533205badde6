"""Functions of the client that the model may call."""

import asyncio
import json
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import Talking, kinds, only, refused, text

from omni.live.engine import messages
from omni.live.guard import Guards
from omni.live.protocol import tools

WEATHER = {"type": "function", "name": "weather", "description": "Of a city.", "parameters": {"type": "object"}}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'


CALLED = [
    "response.output_item.added", "conversation.item.added", "response.function_call_arguments.delta",
    "response.function_call_arguments.done", "conversation.item.done", "response.output_item.done",
]  # fmt: skip
SOUND = np.full(2400, 0.5, np.float32)


def answered(talking: Talking, *pieces: str | np.ndarray, sound: bool = False) -> list[dict]:
    """Put these into the model's mouth, as omni-tiny never calls a function; what the client is told."""
    mark = len(talking.events)
    talking.session.take(json.dumps({"type": "response.create"}))
    answer = talking.session.speaking.current.id
    for piece in (*pieces, *[SOUND] * (3 if sound else 0)):
        letters, samples = (piece, None) if isinstance(piece, str) else (None, piece)
        talking.session.told(messages.Said("talk", answer, letters, samples))
    talking.session.told(messages.Ended("talk", answer, {"text": 9}, {"text": 9}, False))
    talking.worker.take(messages.Stop("talk", answer))                  # what omni-tiny would have said itself
    return talking.events[mark:]


def remembered(talking: Talking) -> list[str]:
    """What the model knows of each item."""
    decode = talking.worker.pipeline.tokenizers.text.decode
    return ["".join(decode(segment.codes.tolist()) for segment in turn) for turn in talking.talk.items.values()]


@pytest.mark.parametrize("mode", ["text", "audio"])
@pytest.mark.parametrize("pieces", [(CALL[:5], CALL[5:30], CALL[30:]), ("\n ", CALL)])
def test_a_call_of_a_function_is_an_item_and_what_it_returns_is_answered(talking: Talking, mode: str, pieces) -> None:
    talking.say("session.update", session={"type": "realtime", "tools": [WEATHER], "output_modalities": [mode]})
    talking.say("conversation.item.create", item=text("How is the weather in Paris?"))
    events = answered(talking, *pieces, sound=mode == "audio")
    assert kinds(events) == ["response.created", *CALLED, "response.done"]
    (call,) = only(events, "response.done")["response"]["output"]
    assert (call["type"], call["name"]) == ("function_call", "weather")
    assert json.loads(call["arguments"]) == {"city": "Paris"}
    assert remembered(talking)[1:] == [CALL]
    returned = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    talking.say("conversation.item.create", item=returned)
    done = only(talking.say("response.create"), "response.done")["response"]
    assert done["status"] == "completed"


def test_what_is_said_before_calls_is_an_item_of_its_own_and_calls_are_not_heard(talking: Talking) -> None:
    talking.say("session.update", session={"type": "realtime", "tools": [WEATHER]})
    talking.say("conversation.item.create", item=text("How is the weather in Paris and Rome?"))
    events = answered(talking, "Let me ", "see. <tool", CALL[5:] + "\n", CALL.replace("Paris", "Rome"), sound=True)
    assert not [event for event in events if event["type"] == "response.output_audio.delta"]
    said = [event["delta"] for event in events if event["type"] == "response.output_audio_transcript.delta"]
    assert "".join(said) == "Let me see."
    done = only(events, "response.done")["response"]
    assert [item["type"] for item in done["output"]] == ["message", "function_call", "function_call"]
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Let me see."}]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [(event["output_index"], event["item"]["id"]) for event in added] == [
        (index, item["id"]) for index, item in enumerate(done["output"])
    ]
    assert remembered(talking)[1:] == ["Let me see.", CALL, CALL.replace("Paris", "Rome")]
    assert list(talking.talk.items)[1:] == [item["id"] for item in done["output"]]


def test_a_sentence_before_a_call_is_heard(talking: Talking) -> None:
    talking.say("session.update", session={"type": "realtime", "tools": [WEATHER]})
    talking.say("conversation.item.create", item=text("How is the weather in Paris?"))
    events = answered(talking, "Let me see how it is there.", SOUND, SOUND, " ", CALL[:30], CALL[30:])
    assert len([event for event in events if event["type"] == "response.output_audio.delta"]) >= 2
    done = only(events, "response.done")["response"]
    assert [item["type"] for item in done["output"]] == ["message", "function_call"]
    assert remembered(talking)[1:] == ["Let me see how it is there.", CALL]
    told = {"item_id": done["output"][0]["id"], "content_index": 0, "audio_end_ms": 50}
    only(talking.say("conversation.item.truncate", **told), "conversation.item.truncated")
    assert remembered(talking)[1:] == ["Let me see how it is there.", CALL]  # of which the model has no sound


def test_what_only_looked_like_a_call_is_said(talking: Talking) -> None:
    talking.say("session.update", session={"type": "realtime", "tools": [WEATHER], "output_modalities": ["text"]})
    talking.say("conversation.item.create", item=text("Hello"))
    for pieces in ((" <tool", "s are <b>not", "</b> shown <"), ("<tool_call>", "no")):
        events = answered(talking, *pieces)
        said = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
        assert "".join(said) == only(events, "response.output_text.done")["text"] == "".join(pieces)


def test_a_call_that_the_guard_stops_is_not_told(pipeline) -> None:
    class Deaf:
        def feed(self, samples: np.ndarray, transcript: str) -> str | None:
            return "no" if "Paris" in transcript else None

    talking = Talking(pipeline, Guards(lambda voice: Deaf()))
    talking.say("session.update", session={"type": "realtime", "tools": [WEATHER]})
    talking.say("conversation.item.create", item=text("How is the weather in Paris?"))
    assert kinds(answered(talking, CALL[:12], CALL[12:])) == ["response.created", "response.done", "error"]


def test_a_call_that_a_client_brings_is_what_the_model_would_have_written(talking: Talking) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city": "Paris"}'}
    talking.say("conversation.item.create", item=call)
    assert remembered(talking) == [CALL]


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
        ({"tool_choice": "required"}, "session.tool_choice"),
        ({"tools": [WEATHER, {"type": "function"}]}, "session.tools.1.name"),
        ({"tools": [{"type": "function", "function": {"name": "clock"}}]}, "session.tools.0.name"),
        ({"tools": [{**WEATHER, "parameters": 5}]}, "session.tools.0.parameters"),
    ],
)
def test_functions_that_cannot_be_called_are_refused(talking: Talking, change: dict, param: str) -> None:
    assert refused(talking.say("session.update", session={"type": "realtime", **change}))["param"] == param
    error = refused(talking.say("response.create", response=change))
    assert error["param"] == param.replace("session.", "response.")


WRITTEN = [
    CALL, f" {CALL}", f"So:\n{CALL}{CALL}", f"{CALL} and more", "<tool_call>no", "It rains.", "", "  <tool", "a < b",
]  # fmt: skip


@given(st.sampled_from(WRITTEN), st.data())
def test_outside_of_a_session_a_call_comes_whole_and_all_else_as_it_was_said(written: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=5)))
    pieces = [written[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    said = [messages.Said("talk", "answer", piece) for piece in pieces]
    said.append(messages.Said("talk", "answer", audio=SOUND))
    said.append(messages.Ended("talk", "answer", {"text": 9}, {"text": 9}, False))

    async def come() -> AsyncIterator[messages.Told]:
        for one in said:
            yield one

    async def all_of() -> list[object]:
        return [one async for one in tools.called(come(), [WEATHER])]

    *found, end = asyncio.run(all_of())
    assert end is said[-1]
    calls = [one for one in found if isinstance(one, dict)]
    text = "".join(one.text or "" for one in found if isinstance(one, messages.Said))
    expected = {CALL: ("", ["Paris"]), f" {CALL}": ("", ["Paris"]), f"So:\n{CALL}{CALL}": ("So:", ["Paris", "Paris"])}
    assert (text, [json.loads(call["arguments"])["city"] for call in calls]) == expected.get(written, (written, []))
    sounds = [one for one in found if isinstance(one, messages.Said) and one.audio is not None]
    assert len(sounds) == (0 if tools.OPENING in written else 1)
