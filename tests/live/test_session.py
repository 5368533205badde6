"""A session and the shipped model, whose events the openai package's own types must accept."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from talking import Talking, kinds, only, refused, silence, text

from omni.live.engine import messages

ANSWERED = [
    "response.created", "response.output_item.added", "conversation.item.added", "response.content_part.added",
    "response.output_audio_transcript.delta", "response.output_audio.delta", "response.output_audio.done",
    "response.output_audio_transcript.done", "response.content_part.done", "conversation.item.done",
    "response.output_item.done", "response.done",
]  # fmt: skip


def test_what_is_said_is_answered_in_the_order_that_clients_expect(talking: Talking, spoken: np.ndarray) -> None:
    events = talking.hear(np.concatenate((silence(0.3), spoken, silence(1.5))))
    assert kinds(events) == [
        "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
        "conversation.item.added", "conversation.item.done", *ANSWERED,
    ]  # fmt: skip
    started, stopped, committed = (
        only(events, f"input_audio_buffer.{what}") for what in ("speech_started", "speech_stopped", "committed")
    )
    assert started["item_id"] == stopped["item_id"] == committed["item_id"]
    assert stopped["audio_end_ms"] == pytest.approx(300 + len(spoken) / 24, abs=70)
    done = only(events, "response.done")["response"]
    assert done["status"] == "completed" and done["usage"]["output_token_details"]["audio_tokens"] > 0
    assert done["output"][0]["content"][0]["type"] == "output_audio"
    user, assistant = talking.talk.items.values()
    assert [segment.modality for segment in user] == ["audio"]
    assert [segment.modality for segment in assistant] == ["text", "audio"]


def test_an_answer_begun_in_a_pause_leaves_no_trace_when_the_user_goes_on(talking: Talking, spoken: np.ndarray) -> None:
    talking.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": {
        "type": "server_vad", "silence_duration_ms": 600}}}})  # fmt: skip
    events = talking.hear(np.concatenate((silence(0.3), spoken, silence(0.35), spoken, silence(0.9))))
    assert [kind for kind in kinds(events) if kind == "response.created"] == ["response.created"]
    assert len(talking.talk.items) == 2
    heard = len(next(iter(talking.talk.items.values()))[0].codes) / 25
    assert heard > 2 * len(spoken) / 24_000 + 0.3


def test_text_and_pictures_are_answered_in_writing(talking: Talking) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    talking.say("session.update", session={"type": "realtime", "output_modalities": ["text"]})
    item = text("What is this?")
    item["content"].insert(0, {"type": "input_image", "image_url": url})
    added = ["conversation.item.added", "conversation.item.done"]
    assert kinds(talking.say("conversation.item.create", item=item)) == added
    events = talking.say("response.create")
    assert kinds(events)[-6:] == [
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "conversation.item.done", "response.output_item.done", "response.done",
    ]  # fmt: skip
    written = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert only(events, "response.output_text.done")["text"] == written
    assert [segment.modality for segment in next(iter(talking.talk.items.values()))] == ["image", "text"]


def test_an_answer_is_in_the_conversation_while_it_is_being_given(talking: Talking) -> None:
    """openai-agents truncates an answer that is being given, and then asks for what is left of it."""
    talking.say("conversation.item.create", item=text("What is this?"))
    given = talking.raw(json.dumps({"type": "response.create"}), steps=3)
    assert "response.done" not in [event["type"] for event in given]
    (item,) = [event["item"]["id"] for event in given if event["type"] == "response.output_item.added"]
    for kind, fields in (("truncate", {"content_index": 0, "audio_end_ms": 0}), ("retrieve", {})):
        (event,) = talking.raw(json.dumps({"type": f"conversation.item.{kind}", "item_id": item, **fields}), steps=0)
        assert event["type"] == f"conversation.item.{kind}d" and item in json.dumps(event)
    added = talking.raw(json.dumps({"type": "conversation.item.create", "item": text("And this?")}), steps=0)
    assert added[0]["previous_item_id"] == item


def test_an_answer_that_is_deleted_while_it_is_given_stays_deleted(talking: Talking) -> None:
    talking.say("conversation.item.create", item=text("What is this?"))
    given = talking.raw(json.dumps({"type": "response.create"}), steps=3)
    item = only(given, "response.output_item.added")["item"]["id"]
    mark = len(talking.events)
    talking.raw(json.dumps({"type": "conversation.item.delete", "item_id": item}), steps=0)
    talking.work()
    events = talking.events[mark:]
    assert only(events, "conversation.item.deleted")["item_id"] == item
    assert only(events, "response.done")["response"]["output"][0]["id"] == item
    assert "conversation.item.done" not in kinds(events)                # the conversation has it no more, nor the model
    assert refused(talking.say("conversation.item.retrieve", item_id=item))["code"] == "item_not_found"
    assert item not in talking.talk.items


def test_turns_by_hand(talking: Talking, spoken: np.ndarray) -> None:
    talking.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    assert refused(talking.say("input_audio_buffer.commit"))["code"] == "input_audio_buffer_commit_empty"
    assert talking.hear(np.concatenate((spoken, silence(1)))) == []
    assert kinds(talking.say("input_audio_buffer.commit"))[0] == "input_audio_buffer.committed"
    assert kinds(talking.say("response.create")) == ANSWERED
    talking.hear(spoken)
    assert kinds(talking.say("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert refused(talking.say("input_audio_buffer.commit"))["code"] == "input_audio_buffer_commit_empty"


@pytest.mark.parametrize("kind", ["transcription", "realtime"])
def test_what_a_pause_drew_up_is_not_said_where_turns_are_not_answered_any_more(talking, spoken, kind: str) -> None:
    talking.hear(np.concatenate((silence(0.3), spoken)))
    while talking.session.speaking.draft is None:
        assert not talking.talk.items                                   # the turn is still open
        talking.hear(silence(0.02))
    left = {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "create_response": False}}}}
    talking.say("session.update", session={"type": kind, **(left if kind == "realtime" else {})})
    assert talking.session.speaking.draft is None
    assert "response.created" not in kinds(talking.hear(silence(1.5)))


def test_a_response_out_of_band_leaves_the_conversation_alone(talking: Talking) -> None:
    said = {"conversation": "none", "output_modalities": ["text"], "input": [text("Hello")], "metadata": {"a": "b"}}
    events = talking.say("response.create", response=said)
    assert "conversation.item.added" not in kinds(events)
    assert only(events, "response.done")["response"]["metadata"] == {"a": "b"}
    assert not talking.talk.items


def test_the_assistant_can_speak_first(talking: Talking) -> None:
    events = talking.say("response.create", response={"output_modalities": ["text"]})
    assert "give instructions" in only(events, "error")["error"]["message"]
    assert only(events, "response.done")["response"]["status"] == "failed"
    wanted = {"instructions": "Greet the user.", "output_modalities": ["text"]}
    for more in ({}, {"conversation": "none", "input": []}):
        events = talking.say("response.create", response={**wanted, **more})
        assert only(events, "response.done")["response"]["status"] == "completed"


def heard(talking: Talking, **wanted) -> list[str]:
    """What the model is told of what it is to answer, item by item, for one response."""
    orders = []
    tell = talking.session.line.process.tell
    talking.session.line.process.tell = lambda message: (orders.append(message), tell(message))
    events = talking.say("response.create", response={"output_modalities": ["text"], **wanted})
    assert only(events, "response.done")["response"]["status"] == "completed"
    (order,) = [one for one in orders if isinstance(one, messages.Answer)]
    return [part if isinstance(part, str) else part.text for part in order.parts]


@pytest.mark.parametrize("conversation", ["none", "auto"])
def test_a_response_can_be_to_other_items_than_the_conversation_has(talking: Talking, conversation: str) -> None:
    for name in ("one", "two"):
        talking.say("conversation.item.create", item=text(name, id=name))
    given = [{"type": "item_reference", "id": "two"}, text("three")]
    assert heard(talking, conversation=conversation, input=given) == ["two", "three"]
    assert heard(talking, conversation=conversation, input=[], instructions="Say hello.") == []
    assert len(talking.talk.items) == (2 if conversation == "none" else 4)
    for bad, where in (("nine", "response.input.0.id"), (None, "response.input.0.id")):
        wanted = {"conversation": conversation, "input": [{"type": "item_reference", "id": bad}]}
        assert refused(talking.say("response.create", response=wanted))["param"] == where
    counted = only(talking.say("response.create", response={
        "conversation": "none", "output_modalities": ["text"], "input": [{"type": "item_reference", "id": "two"}],
    }), "response.done")["response"]["usage"]["input_tokens"]  # fmt: skip
    assert counted == len(talking.worker.pipeline.tokenizers.text.encode("two"))


def test_items_can_be_put_between_others_and_deleted(talking: Talking) -> None:
    talking.say("conversation.item.create", item=text("one", id="a"))
    talking.say("conversation.item.create", item=text("three", id="c"))
    talking.say("conversation.item.create", item=text("two", id="b"), previous_item_id="a")
    talking.say("conversation.item.create", item=text("zero", id="z"), previous_item_id="root")
    assert list(talking.talk.items) == ["z", "a", "b", "c"]
    assert kinds(talking.say("conversation.item.delete", item_id="b")) == ["conversation.item.deleted"]
    assert list(talking.talk.items) == ["z", "a", "c"]
    assert refused(talking.say("conversation.item.retrieve", item_id="b"))["code"] == "item_not_found"


def test_an_item_without_an_id_gets_one(talking: Talking) -> None:
    created = [talking.say("conversation.item.create", item=text("Hello", **given)) for given in (
        {"id": None}, {"id": None}, {"id": ""}, {})]  # fmt: skip
    names = [events[-1]["item"]["id"] for events in created]
    assert len({*names}) == 4 and all(names) and list(talking.talk.items) == names
    assert refused(talking.say("conversation.item.create", item=text("Hello", id="root")))["param"] == "item.id"


def test_an_item_that_the_model_cannot_take_is_taken_back(talking: Talking, monkeypatch) -> None:
    monkeypatch.setattr(talking.worker.pipeline.tokenizers, "text", None)
    events = talking.say("conversation.item.create", item=text("Hello", id="a"))
    assert kinds(events)[-2:] == ["error", "conversation.item.deleted"] and events[-1]["item_id"] == "a"
    assert refused(talking.say("conversation.item.retrieve", item_id="a"))["code"] == "item_not_found"


def test_an_answer_that_is_owed_comes_when_the_one_before_it_is_cancelled(talking: Talking, spoken) -> None:
    detection = {"type": "server_vad", "interrupt_response": False}
    talking.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    talking.say("conversation.item.create", item=text("How are you?"))
    talking.raw(json.dumps({"type": "response.create"}), steps=1)
    events = talking.hear(np.concatenate((silence(0.3), spoken, silence(0.6))), steps=0)
    assert "input_audio_buffer.committed" in kinds(events) and "response.created" not in kinds(events)
    cancelled = talking.raw(json.dumps({"type": "response.cancel"}), steps=0)
    assert [event["type"] for event in cancelled if event["type"].startswith("response.")][-2:] == [
        "response.done", "response.created",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ('{"type": "nothing"}', "unknown_event", "type"),
        ('{"type": "response.cancel", "event_id": "\\ud800"}', "invalid_json", None),
        ('{"type": "session.update", "session": {"type": "realtime", "prompt": "\\uD83D"}}', "invalid_json", None),
        ('{"type": "session.update", "session": {"type": "realtime", "tools": [{"type": "function", "name": "f", '
         '"parameters": {"\\udfff": NaN}}]}}', "invalid_json", None),
        ('{"type": "session.update", "session": {}}', "missing_required_parameter", "session.type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "@"}', "invalid_value", "audio"),
        ('{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": []}}',
         "invalid_value", "item.content"),
        ('{"type": "conversation.item.create", "item": {"type": "x"}}', "invalid_value", "item.type"),
        ('{"type": "conversation.item.create", "item": {"type": "message", "role": 7}}', "invalid_value", "item.role"),
        ('{"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{"text": 1}]}}',
         "invalid_value", "item.content.0.text"),
        ('{"type": "response.create", "response": {"conversation": "other"}}',
         "invalid_value", "response.conversation"),
        ('{"type": "response.create", "response": {"input": [{"type": "message", "role": "user", "content": '
         '[{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]}}',
         "invalid_value", "response.input.0.content.0.image_url"),
        ('{"type": "response.create", "response": {"input": [{"type": "message", "role": "user", "content": []}]}}',
         "invalid_value", "response.input.0.content"),
        ('{"type": "response.cancel"}', "response_cancel_not_active", "response_id"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "item_not_found", "item_id"),
    ],
)  # fmt: skip
def test_a_bad_event_is_answered_by_an_error_and_changes_nothing(talking, message, code, param) -> None:
    error = refused(talking.raw(message))
    assert (error["code"], error["param"]) == (code, param)
    assert json.dumps(error, ensure_ascii=False).encode()               # as the socket does
    assert kinds(talking.say("conversation.item.create", item=text("Hello"))) == [
        "conversation.item.added", "conversation.item.done",
    ]  # fmt: skip


def test_a_letter_of_two_halves_is_one(talking: Talking) -> None:
    (changed,) = talking.say("session.update", session={"type": "realtime", "instructions": "\U0001f600"})
    assert changed["session"]["instructions"] == "\U0001f600"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"output_modalities": ["text", "audio"]}, "session.output_modalities"),
        ({"audio": {"output": {"voice": "somebody"}}}, "session.audio.output.voice"),
        ({"audio": {"output": {"speed": 1.5}}}, "session.audio.output.speed"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}}, "session.audio.input.format.rate"),
        ({"tool_choice": 7}, "session.tool_choice"), ({"parallel_tool_calls": False}, "session.parallel_tool_calls"),
        ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
        ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
        ({"type": "x"}, "session.type"),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 7}}}},
         "session.audio.input.turn_detection.threshold"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_met_are_refused_whole(talking: Talking, change: dict, param: str) -> None:
    error = refused(talking.say("session.update", session={"type": "realtime", "instructions": "x", **change}))
    assert error["param"] == param
    events = talking.say("session.update", session={"type": "realtime"})
    assert only(events, "session.updated")["session"]["instructions"] == ""


@pytest.mark.parametrize(("name", "value"), [("parallel_tool_calls", False), ("prompt", {"id": "pmpt_1"})])
def test_a_response_that_cannot_be_met_is_refused(talking: Talking, name: str, value: Any) -> None:
    talking.say("conversation.item.create", item=text("Hello"))
    assert refused(talking.say("response.create", response={name: value}))["param"] == f"response.{name}"


def test_what_clients_send_by_default_is_accepted(talking: Talking) -> None:
    sent = {
        "type": "realtime", "model": "gpt-realtime", "tracing": "auto", "output_modalities": ["audio"],
        "instructions": "You are friendly.", "tools": [], "tool_choice": "auto", "truncation": "auto",
        "prompt": None, "include": [], "parallel_tool_calls": True,
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"}, "noise_reduction": {"type": "near_field"},
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad", "eagerness": "high", "interrupt_response": True},
            },
            "output": {"format": {"type": "audio/pcma"}, "voice": "marin"},
        },
    }  # fmt: skip
    session = only(talking.say("session.update", session=sent), "session.updated")["session"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["input"]["turn_detection"]["create_response"] is True
    talking.say("conversation.item.create", item=text("Hello"))
    events = talking.say("response.create")
    audio = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(audio) / 8000 == pytest.approx(talking.session.speaking.last.sent)


def test_a_fault_of_ours_costs_one_event_and_not_the_session(talking: Talking, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    talking.faulty = True
    with monkeypatch.context() as broken:
        broken.setattr("omni.live.protocol.history.History.check_room", fail)
        error = refused(talking.say("conversation.item.create", item=text("Hello"), event_id="mine"))
    assert (error["type"], error["code"], error["event_id"]) == ("server_error", "server_error", "mine")
    talking.say("conversation.item.create", item=text("Hello"))
    with monkeypatch.context() as broken:
        broken.setattr("omni.live.protocol.response.Response.end", fail)
        events = talking.say("response.create")
    assert only(events, "error")["error"]["code"] == "server_error"
    assert talking.say("response.cancel")[-1]["response"]["status"] == "cancelled"
