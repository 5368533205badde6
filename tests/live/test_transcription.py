"""What the user says is written down, in conversations and in sessions of type transcription."""

from dataclasses import replace

import numpy as np
import pytest
from talking import Talking, kinds, only, refused, silence

TRANSCRIPTION = "conversation.item.input_audio_transcription"
WRITTEN = [
    "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
    "conversation.item.added", "conversation.item.done", f"{TRANSCRIPTION}.delta", f"{TRANSCRIPTION}.completed",
]  # fmt: skip


def test_what_the_user_said_is_written_down_when_asked(talking: Talking, spoken: np.ndarray) -> None:
    transcription = {"model": "whisper-1", "language": "en"}
    talking.say("session.update", session={"type": "realtime", "audio": {"input": {"transcription": transcription}}})
    events = talking.hear(np.concatenate((silence(0.3), spoken, silence(1.5))))
    done = only(events, "conversation.item.input_audio_transcription.completed")
    assert done["item_id"] == only(events, "input_audio_buffer.committed")["item_id"]
    usage, (heard, *_) = done["usage"], talking.talk.items[done["item_id"]]
    assert usage["input_tokens"] == heard.codes.size and usage["output_tokens"] > 0
    deltas = [event["delta"] for event in events if event["type"].endswith("input_audio_transcription.delta")]
    assert len(deltas) > 1 and "".join(deltas) == done["transcript"]


def test_a_transcript_that_cannot_be_made_is_told_as_such(pipeline, spoken, monkeypatch) -> None:
    talking = Talking(pipeline, kind="transcription")
    talking.say("session.update", session={"type": "transcription", "audio": {"input": {"turn_detection": None}}})
    talking.hear(spoken)
    steps = len(spoken) * pipeline.tokenizers.audio.frame_rate // 24_000
    monkeypatch.setattr(pipeline.model, "config", replace(pipeline.model.config, max_steps=int(steps) // 2))
    events = talking.say("input_audio_buffer.commit")
    failed = only(events, "conversation.item.input_audio_transcription.failed")
    assert failed["item_id"] == only(events, "input_audio_buffer.committed")["item_id"]
    assert failed["error"]["message"] and not talking.worker.busy


@pytest.mark.parametrize("asked", ["address", "update"])
def test_a_transcription_session_writes_down_every_turn_and_answers_none(pipeline, spoken, asked: str) -> None:
    talking = Talking(pipeline, kind="transcription" if asked == "address" else "realtime")
    given = {"input": {"transcription": {"model": "gpt-4o-transcribe", "language": "en"}}}
    talking.say("session.update", session={"type": "transcription", "audio": given})
    session = only(talking.events, "session.updated")["session"]
    assert session["object"] == "realtime.transcription_session" and set(session["audio"]) == {"input"}
    assert (talking.events[0]["session"]["type"] == "transcription") is (asked == "address")
    once = np.concatenate((silence(0.3), spoken, silence(1.5)))
    for _ in range(2):
        events = talking.hear(once)
        assert kinds(events) == WRITTEN
        completed = only(events, f"{TRANSCRIPTION}.completed")
        (kept,) = talking.say("conversation.item.retrieve", item_id=completed["item_id"])
        assert kept["item"]["content"][0]["transcript"] == completed["transcript"] != ""
        assert not talking.talk.items                                   # the model keeps none of it
    assert "type transcription" in refused(talking.say("response.create"))["message"]
    assert "type cannot change" in refused(talking.say("session.update", session={"type": "realtime"}))["message"]


def test_a_turn_that_the_client_ends_is_written_down_too(pipeline, spoken) -> None:
    talking = Talking(pipeline, kind="transcription")
    assert talking.events[0]["session"]["audio"]["input"]["transcription"] == {"model": "omni-tiny"}
    talking.say("session.update", session={"type": "transcription", "audio": {"input": {"turn_detection": None}}})
    assert not talking.hear(spoken)
    assert kinds(talking.say("input_audio_buffer.commit")) == WRITTEN[2:]


def test_a_long_turn_may_have_a_long_transcript(talking: Talking, monkeypatch) -> None:
    """Where it ends is the model's affair, so what bounds it is looked at before it does."""
    pipeline, wanted = talking.worker.pipeline, []
    asked = pipeline.asked
    monkeypatch.setattr(pipeline, "asked", lambda *want, **how: wanted.append(how) or asked(*want, **how))
    talk = talking.talk
    for seconds, most in ((2, 64), (20, 320)):
        talk.hear(0.1 * np.random.default_rng(0).standard_normal(seconds * 16_000).astype(np.float32))
        talk.commit("said")
        letters, _ = talk.transcription("said", None)
        assert isinstance(next(letters), str) and wanted[-1]["max_tokens"] == pytest.approx(most, abs=1)
