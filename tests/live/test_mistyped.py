"""Client events whose fields are of a type that could be taken for the right one: refused, and never half obeyed."""

import json
import random
from typing import Any

import pytest
from fuzzing.wrong import mistyped
from talking import Talking, only, refused, text

SERVER, SEMANTIC = "server_vad", "semantic_vad"


def updated(talking: Talking, **session: Any) -> list[dict[str, Any]]:
    return talking.say("session.update", session={"type": "realtime", **session})


def detecting(talking: Talking, **detection: Any) -> list[dict[str, Any]]:
    return updated(talking, audio={"input": {"turn_detection": detection}})


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (SERVER, "threshold", "0.7"), (SERVER, "threshold", True), (SERVER, "silence_duration_ms", "500"),
        (SERVER, "silence_duration_ms", 0.5), (SERVER, "prefix_padding_ms", "300"),
        (SERVER, "prefix_padding_ms", False), (SERVER, "idle_timeout_ms", "5000"), (SERVER, "create_response", "false"),
        (SERVER, "interrupt_response", 0),
        (SEMANTIC, "create_response", "false"), (SEMANTIC, "interrupt_response", "no"), (SEMANTIC, "eagerness", 7),
    ],
)  # fmt: skip
def test_turn_detection_is_never_half_obeyed(talking: Talking, kind: str, field: str, value: Any) -> None:
    before = talking.session.settings
    error = refused(detecting(talking, **{"type": kind, field: value}))
    assert error["type"] == "invalid_request_error"
    assert error["param"] == f"session.audio.input.turn_detection.{field}"
    assert talking.session.settings is before


@pytest.mark.parametrize("value", ["5", True, 5.5])
def test_a_limit_that_is_no_number_is_refused(talking: Talking, value: Any) -> None:
    assert refused(updated(talking, max_output_tokens=value))["param"] == "session.max_output_tokens"
    asked = {"max_output_tokens": value}
    assert refused(talking.say("response.create", response=asked))["param"] == "response.max_output_tokens"


def test_where_an_answer_is_truncated_is_a_number(talking: Talking) -> None:
    talking.say("conversation.item.create", item=text("Hello"))
    item = only(talking.say("response.create"), "response.output_item.done")["item"]["id"]
    where = {"item_id": item, "content_index": 0}
    assert refused(talking.say("conversation.item.truncate", **where, audio_end_ms="100"))["param"] == "audio_end_ms"
    (told,) = talking.say("conversation.item.truncate", **where, audio_end_ms=80.0)
    assert (told["type"], told["audio_end_ms"]) == ("conversation.item.truncated", 80)


def test_numbers_are_right_however_they_are_written(talking: Talking) -> None:
    (told,) = detecting(talking, type=SERVER, threshold=1, silence_duration_ms=500.0, idle_timeout_ms=5e3)
    vad = told["session"]["audio"]["input"]["turn_detection"]
    assert (vad["threshold"], vad["silence_duration_ms"], vad["idle_timeout_ms"]) == (1, 500, 5000)
    assert updated(talking, max_output_tokens=5.0)[0]["session"]["max_output_tokens"] == 5
    assert talking.session.settings.ask.how["max_tokens"] == 5


@pytest.mark.parametrize(
    ("name", "value", "now"),
    [
        ("turn_detection", None, "audio.input.turn_detection"), ("modalities", ["text"], "output_modalities"),
        ("voice", "alloy", "audio.output.voice"), ("output_audio_format", "g711_ulaw", "audio.output.format"),
    ],
)  # fmt: skip
def test_settings_of_the_beta_shape_are_not_ignored(talking: Talking, name: str, value: Any, now: str) -> None:
    for told, where in (
        (updated(talking, **{name: value}), "session"),
        (talking.say("response.create", response={name: value}), "response"),
    ):
        error = refused(told)
        assert (error["code"], error["param"]) == ("unknown_parameter", f"{where}.{name}")
        assert error["message"].endswith(f"use {where}.{now}")


def test_settings_of_any_type_are_refused_or_kept(talking: Talking) -> None:
    """As in `make fuzz`; Talking takes no fault of ours."""
    draw, seen = random.Random(0), set[str]()
    for _ in range(500):
        (told,) = talking.raw(json.dumps({"type": "session.update", "session": mistyped(draw)}), steps=0)
        seen.add(told["type"])
    assert seen == {"error", "session.updated"}
