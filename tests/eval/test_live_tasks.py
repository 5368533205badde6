"""Latency and interruptions as Inspect tasks, against a server whose delay is planted, and against none."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import inspect_ai
import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection, serve

import omni.safety.registry  # noqa: F401
from omni.cli import main
from omni.eval.live import latency as bench
from omni.eval.live import sessions
from omni.eval.live.client import Client, connected
from omni.eval.live.recordings import Question
from omni.eval.live.tasks import barge_in, latency
from omni.eval.tasks.measures import KINDS
from omni.live.hearing.pcm import from_base64, to_base64

LOUD = to_base64(0.3 * np.sin(np.arange(4800) / 9).astype(np.float32), "audio/pcm")
DELAY, MADE = 0.15, 0.1                                                 # seconds to the planted answer; to its sound


async def planted(socket: ServerConnection, behaviour: str) -> None:
    """`late` answers DELAY after it hears silence again, `early` at the first sound that comes, `mute` never; an
    answer of `endless` never ends.
    `twice` answers as early with a gap of MADE, and without one after the end; `later` as late, for two seconds.

    `talks` answers in writing asked at length, and says that it hears a voice; `terse` answers with 0.2 s.
    Its model is given a code a millisecond.
    """
    heard, answered, kept, begun = False, False, 4000, 0

    async def say(kind: str, **fields: Any) -> None:
        await socket.send(json.dumps({"type": kind, **fields}))

    await say("session.created")
    async for text in socket:
        event = json.loads(text)
        if event["type"] == "input_audio_buffer.clear":
            await say("input_audio_buffer.cleared")
        if event.get("response"):                                       # out of band
            codes = 4000 if event["response"].get("input") else kept
            await say("response.done", response={"usage": {"input_token_details": {"audio_tokens": codes}}})
        elif event["type"] == "response.create":
            for kind in ("response.created", *["response.output_audio.delta"] * (20 if behaviour == "talks" else 1)):
                await say(kind, item_id="a", delta=LOUD)
            await say("response.done")
        if event["type"] == "conversation.item.truncate":
            kept = event["audio_end_ms"] - 20
            await say("conversation.item.truncated", audio_end_ms=event["audio_end_ms"])
        if behaviour in ("talks", "terse"):
            if event["type"] == "input_audio_buffer.append" and loud(event) and not heard:
                heard = True
                await say("input_audio_buffer.speech_started")
            continue
        if event["type"] != "input_audio_buffer.append" or answered or behaviour == "mute":
            continue
        voice = loud(event)
        heard = heard or voice
        if behaviour == "twice" and voice and begun == 0:
            begun = 1
            await say("response.output_audio.delta", item_id="b", delta=LOUD)
            await asyncio.sleep(0.2 + MADE)
            await say("response.output_audio.delta", item_id="b", delta=LOUD)
        if behaviour == "early" or (heard and not voice):
            answered = True
            await asyncio.sleep(DELAY if behaviour == "late" else 0)
            await say("input_audio_buffer.speech_stopped")
            await say("response.created")
            await say("response.output_item.added", item={"id": "a"})
            await say("response.output_audio_transcript.delta", item_id="a", delta="x")
            await asyncio.sleep(MADE if behaviour == "late" else 0)
            for _ in range(10 if behaviour == "later" else 1):
                await say("response.output_audio.delta", item_id="a", delta=LOUD)
            if behaviour != "endless":
                await say("response.done")


def loud(event: dict[str, Any]) -> bool:
    return bool(np.abs(from_base64(event["audio"], "audio/pcm")).max() > 0.01)


@pytest.fixture
def behaviours() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and what its next connections behave like."""
    plan: list[str] = []
    loop, ready = asyncio.new_event_loop(), threading.Event()
    port: list[int] = []

    async def main() -> None:
        async with serve(lambda socket: planted(socket, plan.pop(0)), "127.0.0.1", 0) as server:
            port.append(next(iter(server.sockets)).getsockname()[1])
            ready.set()
            await asyncio.Event().wait()

    thread = threading.Thread(target=lambda: _quietly(loop, main), daemon=True)
    thread.start()
    ready.wait(20)
    yield f"ws://127.0.0.1:{port[0]}", plan
    loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    thread.join(20)


def _quietly(loop: asyncio.AbstractEventLoop, main: Callable[[], Any]) -> None:
    try:
        loop.run_until_complete(main())
    except asyncio.CancelledError:
        loop.close()


def run(task: inspect_ai.Task, folder: Path) -> Any:
    (log,) = inspect_ai.eval(task, model="mockllm/model", log_dir=str(folder), display="none")
    return log


def figures(log: Any) -> dict[str, dict[str, float]]:
    return {score.name: {key: one.value for key, one in score.metrics.items()} for score in log.results.scores}


def recordings(folder: Path, count: int) -> str:
    """A user's file of recordings of 1.5 s, long enough that load does not make an early answer a late one."""
    soundfile.write(folder / "q.wav", 0.3 * np.sin(np.arange(24000) / 9), 16000)
    rows = [json.dumps({"id": str(number), "audio": "q.wav", "target": "owl"}) for number in range(count)]
    (folder / "mine.jsonl").write_text("\n".join(rows))
    return str(folder / "mine.jsonl")


def test_a_planted_delay_a_false_start_and_silence_are_told_apart(
    behaviours: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "PATIENCE", 3.0)
    url, plan = behaviours
    plan += ["late", "early", "mute"]
    log = run(latency(recordings(tmp_path, 3), url=url), tmp_path / "logs")
    found = figures(log)
    assert log.status == "success" and not [one.error for one in log.samples if one.error]
    turns = [one.store["turn"] for one in log.samples]
    answered = [turn for turn in turns if turn["latency"] is not None]
    assert found["answered"]["answered"] == pytest.approx(2 / 3) and found["answered"]["answered_n"] == 3
    assert max(turn["latency"] for turn in answered) >= 1000 * DELAY
    for turn in answered:                                               # early is before the end unless we starve
        assert turn["false_start"] == (turn["latency"] < 0)
        parts = [turn[part] for part in ("detection", "token", "codec", "leading")]
        assert sum(parts) == pytest.approx(turn["latency"], abs=0.1) and min(parts[1:]) >= 0
    assert max(turn["codec"] for turn in answered) > 0
    early = sum(turn["false_start"] for turn in turns)
    assert early <= 1 and found["false_start_rate"]["false_start_rate"] == pytest.approx(early / 3)
    assert found["min_ms"]["min_ms"] <= found["p50_ms"]["p50_ms"] <= found["max_ms"]["max_ms"]


def test_an_answer_is_interrupted_or_over_before(behaviours: tuple[str, list[str]], tmp_path: Path) -> None:
    url, plan = behaviours
    plan += ["talks", "terse"]
    log = run(barge_in(recordings(tmp_path, 2), url=url), tmp_path / "logs")
    found = figures(log)
    assert log.status == "success" and not [one.error for one in log.samples if one.error]
    assert found["interrupted"]["interrupted"] == 0.5 and found["stop_ms_p50"]["stop_ms_p50_n"] == 1
    assert found["kept_beyond_heard_ms_max"]["kept_beyond_heard_ms_max"] == -20  # as much less as was planted


def conversed(url: str, turn: Callable[[Client, Question, np.random.Generator], Any]) -> Any:
    """What a turn of a second's sound comes to."""

    async def talk() -> Any:
        async with connected(url) as client:
            wave = 0.3 * np.sin(np.arange(24_000) / 9).astype(np.float32)
            return await turn(client, Question("q", wave, 0.0), np.random.default_rng(0)), client

    return asyncio.run(talk())


def test_gaps_are_counted_in_all_answers_of_a_turn(
    behaviours: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SILENCE", 0.5)
    url, plan = behaviours
    plan += ["twice"]
    (first, last), _ = conversed(url, sessions.one_turn)
    assert first.gaps > 0 and first.spoken == pytest.approx(0.4) and first.latency is None
    assert last.gaps == 0 and last.spoken == pytest.approx(0.2) and last.latency is not None


def test_an_answer_is_heard_to_its_end_where_the_conversation_is_to_hold_it(
    behaviours: tuple[str, list[str]]
) -> None:
    url, plan = behaviours
    plan += ["later"]
    began = time.monotonic()
    turn, client = conversed(url, partial(bench.one_turn, whole=True))
    assert turn.latency is not None and turn.token is not None
    assert sum(len(arrival.wave) for arrival in client.sound) == 48_000
    assert time.monotonic() - began >= bench.LEAD + 1 + 2


def test_figures_before_an_answer_that_never_ends_are_not_lost(
    behaviours: tuple[str, list[str]], tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(bench, "PATIENCE", 2.0)
    monkeypatch.setattr(bench, "LENGTHS", (0.5, 1.0))
    wave = 0.3 * np.sin(np.arange(24_000) / 9).astype(np.float32)
    monkeypatch.setattr(bench, "questions", lambda *_: [Question("q", wave, 0.0)])
    url, plan = behaviours
    plan += ["late", "late", "endless"]
    assert main(["bench", "latency", "--data", str(data), "--turns", "1", "--url", url, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "no response.done of an answer came, and nothing else within 2 s" in said.err and "p50_ms" in said.out
    assert len(json.loads((tmp_path / "turns.json").read_text("utf-8"))["turns"]) == 3


def test_without_a_server_every_sample_is_an_error(data: Path, tmp_path: Path) -> None:
    log = run(latency(str(data), n=2, url="ws://127.0.0.1:1/v1/realtime"), tmp_path)
    assert all("no server answers there" in one.error.message for one in log.samples)
    log = run(latency(str(data), n=1), tmp_path / "no-address")
    assert "has no live speech; give -T url=" in log.samples[0].error.message


def test_percentiles_are_numpys_and_an_extreme_has_no_interval() -> None:
    rows = np.random.default_rng(0).exponential(300, (40, 1)).tolist()
    for name, share in (("least ms", 0), ("p50 ms", 50), ("p95 ms", 95), ("most ms", 100)):
        one = KINDS[name].measure(rows)
        assert one.value == pytest.approx(np.percentile(rows, share)) and one.low <= one.value <= one.high
        assert (one.low == one.high) == (share in (0, 100))
