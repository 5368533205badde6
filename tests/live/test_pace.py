"""As many sessions are let in as the model is measured to hold."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from talking import Inline, answering

from omni.decode.parts import Text
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import GREEDY
from omni.decode.slots import SlotStep
from omni.decode.step import halve
from omni.errors import InputError
from omni.live.engine.pool import FullError, Pool
from omni.live.http.app import application
from omni.live.http.door import Door
from omni.live.model.ending import Ending
from omni.live.model.memory import Memory
from omni.live.model.pace import MOST, SPOKEN, Pace, measured, warm
from omni.model.folder import load_model
from omni.shipped import shipped_model
from omni.tokenizers.bundle import Tokenizers


@given(st.floats(0.001, 2), st.floats(0.001, 2))
def test_there_is_room_for_those_who_can_be_spoken_to_at_once(alone: float, further: float) -> None:
    room = Pace(alone, further).room
    assert 1 <= room <= MOST
    assert room == 1 or alone + further * (room - 1) <= SPOKEN + 1e-6   # where they just fit, rounding decides
    assert room == MOST or alone + further * room > SPOKEN - 1e-6


def test_the_pace_is_measured_with_the_model(pipeline: Pipeline) -> None:
    pace = measured(pipeline)
    assert 0 < pace.alone and 0 < pace.further and 1 <= pace.room <= MOST


def test_an_answer_that_is_refused_is_no_quick_one(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    codec: Any = pipeline.tokenizers.audio
    decode, frames = codec.decode_stream, []
    monkeypatch.setattr("omni.live.model.memory.free", lambda device: 0)
    monkeypatch.setattr(codec, "decode_stream", lambda *given: frames.append(given) or decode(*given))
    measured(pipeline)
    assert len(frames) > 10                                             # they were spoken

    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(codec, "decode_stream", fail)
    with pytest.raises(InputError, match="cannot be measured"):
        measured(pipeline)


def names(pool: Pool, count: int, live: bool = True) -> None:
    for number in range(count):
        pool.talk(f"{live}{number}", lambda message: None, live=live)


@pytest.mark.parametrize(("given", "room"), [(None, 4), (2, 2)])
def test_sessions_find_the_room_that_was_measured_or_given(pipeline: Pipeline, given: int | None, room: int) -> None:
    processes: list[Any] = [Inline.of(pipeline, lambda _: None) for _ in range(2)]  # each says 4
    pool = Pool(processes, given)
    assert pool.sessions == 2 * room
    names(pool, 2 * room)
    assert [len(process.sessions) for process in processes] == [room, room]
    with pytest.raises(FullError, match=rf"all sessions of this server are taken \({2 * room} at most\)"):
        pool.talk("more", lambda message: None, live=True)


def test_processes_that_share_cores_hold_less(pipeline: Pipeline) -> None:
    processes: list[Any] = [Inline.of(pipeline, lambda _: None) for _ in range(3)]
    assert [Pool(processes, None, share).sessions for share in (1.0, 0.5, 0.1)] == [12, 6, 3]


def test_questions_over_http_take_no_session_its_place(pipeline: Pipeline) -> None:
    process: Any = answering(pipeline)
    pool = Pool([process], questions=1)
    client = TestClient(application(pool, Door()), headers={"host": "localhost"})
    lines = [pool.talk(str(number), lambda message: None, live=True) for number in range(4)]
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    pool.talk("question", lambda message: None)
    assert client.post("/v1/chat/completions", json=body).json()["error"]["code"] == "server_full"
    lines[0].close()
    pool.talk("again", lambda message: None, live=True)
    assert "omni_sessions_limit 4.0" in client.get("/metrics").text


def test_a_model_speaks_in_bf16_and_from_slots_as_it_does_on_a_gpu(pipeline: Pipeline) -> None:
    """What a GPU runs, on a CPU: the same text, drawn greedily, and a session that is heard, judged and answered."""
    model, vocab = load_model(folder := shipped_model())
    halve(model)
    assert model.table.dtype == torch.bfloat16
    step = SlotStep(model, 4)
    found = Pipeline(model, vocab, Tokenizers.load(folder / "tokenizers"), step)
    told = [one([Text("How do you say dog in French?")], language="en", sampler=GREEDY) for one in (found, pipeline)]
    assert told[0].text and told[0].text == told[1].text
    warm(found, Ending.load(folder))
    assert Memory(found, lambda: (), most=7).most == 7 + step.nbytes
