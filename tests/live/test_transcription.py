"""What the user says is written down, in conversations and in sessions of type transcription."""

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from openai.types.audio import TranscriptionVerbose
from starlette.testclient import TestClient
from talking import Calm, Talking, answering, finish, kinds, noted, only, opened, refused, silence

from omni.decode.parts import Audio
from omni.decode.samplers import GREEDY
from omni.live.engine import messages
from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.http.app import application
from omni.live.http.door import Door
from omni.live.model.memory import Memory

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
    (kept,) = talking.say("conversation.item.retrieve", item_id=failed["item_id"])
    assert kept["item"]["content"][0]["transcript"] is None


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
    for seconds, most in ((2, 64), (20, 640)):
        talk.hear(0.1 * np.random.default_rng(0).standard_normal(seconds * 16_000).astype(np.float32))
        talk.commit("said")
        letter = next(talk.transcription("said", None).letters)
        assert isinstance(letter, str) and wanted[-1]["max_tokens"] == pytest.approx(most, abs=1)


def test_a_turn_of_several_recordings_is_held_to_all_of_them(pipeline, spoken) -> None:
    """As `Pipeline` streams it, in a session and where an answer is nothing else than what was said."""
    halves = tuple(Audio(half, 24_000) for half in np.array_split(spoken, 2))
    how: Any = {"language": "en", "sampler": GREEDY, "max_tokens": 64, "verbatim": True}
    expected = "".join(piece.text or "" for piece in pipeline.stream(halves, ("text",), **how))
    worker, told = opened(pipeline, "talk")
    worker.take(messages.Put("talk", "said", halves))
    worker.take(messages.Transcribe("talk", "said", "en"))
    worker.take(messages.Answer("talk", "same", messages.Ask(("text",), how), None, None, halves))
    finish(worker)
    assert [one.text for one in told if isinstance(one, messages.Transcribed)] == [expected]
    assert "".join(one.text or "" for one in told if isinstance(one, messages.Said)) == expected != ""


def leave_room(monkeypatch, pipeline, work) -> None:
    """Have the model's past end two tokens after the longest prompt that it needs for this work."""
    needed, aside = [], Memory.aside
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "aside", lambda self, steps: needed.append(steps) or aside(self, steps))
        for module in ("model.writing", "http.asking"):
            patch.setattr(f"omni.live.{module}.most_tokens", lambda seconds: 2)
        work()
    monkeypatch.setattr("omni.decode.want.LEAST", 2)
    monkeypatch.setattr(pipeline.model, "config", replace(pipeline.model.config, max_steps=max(needed)))


def committed(pipeline, spoken, guards=None, before=lambda: None) -> tuple[Talking, list[Any]]:
    """A session in which something was said, and what came of that; before: done before it is written down."""
    talking = Talking(pipeline, guards)
    given = {"turn_detection": None, "transcription": {"model": "omni-tiny"}}
    talking.say("session.update", session={"type": "realtime", "audio": {"input": given}})
    talking.hear(spoken)
    before()
    return talking, talking.say("input_audio_buffer.commit")


@pytest.mark.parametrize("guarded", [False, True])
def test_a_transcript_that_ends_for_want_of_room_is_no_transcript(pipeline, spoken, monkeypatch, guarded) -> None:
    guards = Guards(lambda voice: Calm(), lambda said: None) if guarded else None
    talking, events = committed(
        pipeline, spoken, guards, lambda: leave_room(monkeypatch, pipeline, lambda: committed(pipeline, spoken))
    )
    failed = only(events, f"{TRANSCRIPTION}.failed")
    assert "ends before the recording" in failed["error"]["message"]
    (kept,) = talking.say("conversation.item.retrieve", item_id=failed["item_id"])
    assert kept["item"]["content"][0]["transcript"] is None
    if guards:                                                          # nobody has looked at all of what was said
        done = only(talking.say("response.create", response={"output_modalities": ["text"]}), "response.done")
        assert done["response"]["status_details"]["reason"] == "content_filter"


def test_a_transcript_that_does_not_end_stands_as_it_is(pipeline, spoken, monkeypatch) -> None:
    """Nobody says so many tokens in so short a time, so what reaches their number loops."""
    monkeypatch.setattr("omni.live.model.writing.most_tokens", lambda seconds: 1)
    asked: list[str] = []
    talking, events = committed(pipeline, spoken, Guards(lambda voice: Calm(), asked.append))
    written = only(events, f"{TRANSCRIPTION}.completed")
    assert written["usage"]["output_tokens"] == 1
    talking.say("response.create", response={"output_modalities": ["text"]})
    assert asked == [written["transcript"].strip()]


@pytest.mark.parametrize(("named", "told"), [({"language": "en-GB"}, "en"), ({}, "und")])
def test_a_verbose_transcript_has_the_whole_recording_as_its_segment(pipeline, spoken, named: Any, told: str) -> None:
    process: Any = answering(pipeline)
    client, file = TestClient(application(Pool([process], 1), Door()), headers={"host": "localhost"}), io.BytesIO()
    soundfile.write(file, spoken, 24_000, format="WAV")
    form = {"response_format": "verbose_json", **named}
    answer = client.post("/v1/audio/transcriptions", files={"file": ("x.wav", file.getvalue())}, data=form)
    verbose = TranscriptionVerbose.model_validate(answer.json(), strict=True)
    (segment,) = verbose.segments or []
    assert (segment.id, segment.start, segment.end, segment.text) == (0, 0, verbose.duration, verbose.text)
    assert verbose.text and verbose.language == told
    assert verbose.duration == pytest.approx(len(spoken) / 24_000, abs=0.1)


def test_over_http_a_transcript_is_as_long_as_the_recording_or_none(pipeline, spoken, monkeypatch) -> None:
    process: Any = answering(pipeline)
    orders = noted(process)
    guards = Guards(lambda voice: Calm(), lambda said: None)
    client = TestClient(application(Pool([process], 1), Door(), guards), headers={"host": "localhost"})
    room, file = np.zeros(24_000 * 40, np.float32), io.BytesIO()
    room[: len(spoken)] = spoken
    soundfile.write(file, room, 24_000, format="WAV")

    def transcribed(streamed: bool = False) -> Any:
        upload, how = {"file": ("x.wav", file.getvalue())}, {"stream": "true"} if streamed else {}
        return client.post("/v1/audio/transcriptions", files=upload, data=how)

    assert transcribed().status_code == 200
    (order,) = (one for one in orders if isinstance(one, messages.Answer))
    assert order.ask.how["max_tokens"] == 40 * 32
    with monkeypatch.context() as patch:                                # one that reaches its limit loops, and stands
        patch.setattr("omni.live.http.asking.most_tokens", lambda seconds: 2)
        assert transcribed().status_code == 200 and '"transcript.text.done"' in transcribed(streamed=True).text
    leave_room(monkeypatch, pipeline, transcribed)
    answer = transcribed()
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "input_too_long"
    assert '"input_too_long"' in transcribed(streamed=True).text and "text.done" not in transcribed(streamed=True).text
    sound = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    asked = {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]}]}
    orders.clear()
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "input_too_long"
    assert sum(isinstance(one, messages.Answer) for one in orders) == 1  # the transcript that no guard could look at
