"""Texts in a session that the model cannot be given."""

from typing import Any

import pytest
from talking import Talking, noted, only, refused, text

LONG = "long " * 200_000
HALF = "x" * 40_000                                                     # which fits, by its bytes, but not twice


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("session.update", {"session": {"type": "realtime", "instructions": LONG}}, "session.instructions"),
        ("session.update", {"session": {"type": "realtime", "tools": [
            {"type": "function", "name": "x", "description": LONG}]}}, "session.tools"),
        ("response.create", {"response": {"instructions": LONG}}, "response.instructions"),
        ("response.create", {"response": {"input": [text(LONG)]}}, "response.input.0"),
        ("response.create", {"response": {"input": [text(HALF), text(HALF)]}}, "response.input"),
        ("conversation.item.create", {"item": text(LONG)}, "item"),
        ("conversation.item.create", {"item": {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": HALF}] * 2}}, "item"),
    ],
)  # fmt: skip
def test_texts_that_cannot_fit_are_refused_at_once_and_change_nothing(
    talking: Talking, kind: str, fields: dict[str, Any], param: str
) -> None:
    orders = noted(talking.session.line.process)
    error = refused(talking.say(kind, **fields))
    assert (error["code"], error["param"]) == ("context_length_exceeded", param)
    assert not orders                                                   # the model is not even told
    talking.say("conversation.item.create", item=text("Hello"))
    assert only(talking.say("response.create"), "response.done")["response"]["status"] == "completed"
