"""What the model hears of a turn: all of it, once, and nothing of what the client took back; and silence."""

import numpy as np
import pytest
from talking import Talking, kinds, only, silence, text

from omni.live.hearing.cadence import Cadence

FRAMES = 25                                                             # of the codec in a second


def detecting(talking: Talking, **detection: object) -> None:
    vad = {"type": "server_vad"} | detection if detection else None
    talking.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": vad}}})


def heard(talking: Talking) -> list[int]:
    """Frames of each turn that the user spoke."""
    turns = [turn for turn in talking.talk.items.values() if turn and turn[0].role == "user"]
    return [len(segment.codes) for turn in turns for segment in turn if segment.modality == "audio"]


@pytest.mark.parametrize("chunk", [480, 12_000, 96_000])
def test_nothing_is_in_two_turns_where_the_first_ended_too_early(
    talking: Talking, spoken: np.ndarray, chunk: int
) -> None:
    detecting(talking, silence_duration_ms=100, prefix_padding_ms=1000)
    said = np.concatenate((silence(0.3), spoken, silence(0.2), spoken, silence(0.5)))
    events = talking.hear(said, chunk)
    starts, ends = (
        [event[f"audio_{what}_ms"] for event in events if event["type"].endswith(name)]
        for what, name in (("start", "speech_started"), ("end", "speech_stopped"))
    )
    assert len(starts) == len(ends) >= 2
    assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))
    turns = [event["type"] for event in events if "buffer.speech" in event["type"]]
    assert all(("started" in kind) is (number % 2 == 0) for number, kind in enumerate(turns))
    waited = (0.1 + chunk / 24_000) * len(ends)                         # seconds behind each end, which are its own too
    assert sum(heard(talking)) <= (len(said) / 24_000 + waited) * FRAMES + len(ends)


def test_what_was_half_said_is_forgotten_where_the_client_changes_how_it_is_heard(
    talking: Talking, spoken: np.ndarray
) -> None:
    detecting(talking)
    talking.hear(np.concatenate((spoken, silence(0.1))))
    detecting(talking, silence_duration_ms=500)
    detecting(talking)
    talking.hear(silence(0.4))
    talking.say("input_audio_buffer.commit")
    assert heard(talking) == [pytest.approx(0.4 * FRAMES, abs=1)]


@pytest.mark.parametrize(("kind", "odds", "asked"), [
    ("server_vad", -9.0, False), ("semantic_vad", -9.0, True), ("semantic_vad", 9.0, False),
])  # fmt: skip
def test_the_model_judges_a_pause_that_does_not_sound_like_an_end_and_begins_its_answer_before(
    talking: Talking, spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch, kind: str, odds: float, asked: bool
) -> None:
    monkeypatch.setattr(Cadence, "odds", lambda self, silence: odds)
    order, talk = list[str](), talking.talk
    judge, answer = talk.judge, talk.answer
    talk.judge = lambda: order.append("judge") or judge()
    talk.answer = lambda message: order.append("answer") or answer(message)
    detecting(talking, type=kind)
    talking.hear(np.concatenate((silence(0.3), spoken, silence(0.6))))
    assert order[0] == "answer" and ("judge" in order) is asked
    assert not asked or order[1] == "judge"


@pytest.mark.parametrize("spoken_to", [False, True])
def test_a_full_conversation_forgets_its_oldest_items(
    talking: Talking, spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch, spoken_to: bool
) -> None:
    monkeypatch.setattr("omni.live.protocol.history.MOST", 3)
    for name in ("a", "b", "c"):
        talking.say("conversation.item.create", item=text("Hello", id=name))
    if spoken_to:                                                       # a turn and its answer
        events, left = talking.hear(np.concatenate((silence(0.3), spoken, silence(1.5)))), ["c"]
    else:
        events, left = talking.say("conversation.item.create", item=text("Hello", id="d")), ["b", "c", "d"]
    gone = [event["item_id"] for event in events if event["type"] == "conversation.item.deleted"]
    assert gone == (["a", "b"] if spoken_to else ["a"])
    assert list(talking.talk.items)[: len(left)] == left and len(talking.talk.items) == 3
    added = [event for event in events if event["type"] == "conversation.item.added"]
    assert added[0]["previous_item_id"] == "c"
    if not spoken_to:
        (error,) = talking.say("conversation.item.delete", item_id="a")
        assert error["error"]["code"] == "item_not_found"
    else:
        assert only(events, "response.done")["response"]["status"] == "completed"


@pytest.mark.parametrize("answered", [True, False])
def test_a_user_who_says_nothing_after_an_answer_is_spoken_to_once(talking, spoken, monkeypatch, answered) -> None:
    detecting(talking, idle_timeout_ms=1000, create_response=answered)
    talking.say("conversation.item.create", item=text("How are you?"))
    talking.say("response.create")
    last = talking.session.speaking.last
    assert last.sent > 0.2
    monkeypatch.setattr(last, "sent", 20.0)                             # made long before it is heard
    clock = [0.0]
    monkeypatch.setattr("omni.live.protocol.speaking.time.monotonic", lambda: last.first_audio + clock[0])
    for clock[0] in (19.0, 20.9):
        assert not talking.hear(silence(0.1))
    clock[0] = 21.1
    events = talking.hear(silence(1.4), 33_600)
    assert kinds(events)[:3] == [
        "input_audio_buffer.timeout_triggered", "input_audio_buffer.committed", "conversation.item.added",
    ]  # fmt: skip
    triggered = events[0]
    assert triggered["audio_end_ms"] - triggered["audio_start_ms"] == 1000
    assert triggered["item_id"] == only(events, "input_audio_buffer.committed")["item_id"]
    if answered:
        assert only(events, "response.done")["response"]["status"] == "completed"
        return
    clock[0] = 60.0
    assert not talking.hear(silence(0.3))                               # before the client has it answered
    talking.say("response.create")
    turn = talking.hear(np.concatenate((spoken, silence(0.1))))
    clock[0] = 99.0
    turn += talking.hear(silence(1.0))
    assert "input_audio_buffer.committed" in kinds(turn) and triggered["type"] not in kinds(turn)
    talking.say("response.create")
    clock[0] = 140.0
    assert only(talking.hear(silence(0.3)), triggered["type"])["item_id"] != triggered["item_id"]
