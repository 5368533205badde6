"""Live speech in one process: a session, and the worker that really answers it, taking turns."""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from omni.decode.pipeline import Pipeline
from omni.live.engine import messages
from omni.live.engine.pool import Line
from omni.live.guard import Aside, Guards, at_once
from omni.live.hearing.pcm import Resampler, Wave, to_base64
from omni.live.model.limits import longest_text
from omni.live.model.worker import Worker
from omni.live.protocol.session import Session

SCHEMA: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def opened(pipeline: Pipeline, *talks: str, **more: Any) -> tuple[Worker, list[messages.Told]]:
    """A worker with these conversations, and what it will have told. more: of the worker"""
    told: list[messages.Told] = []
    worker = Worker(pipeline, told.append, **more)
    for talk in talks:
        worker.take(messages.Open(talk))
    return worker, told


def finish(worker: Worker) -> None:
    while worker.busy:
        worker.work()


@dataclass
class Inline:
    """Stands where a model's process does, but works when it is asked to, in this one."""

    worker: Worker
    ready: messages.Ready
    tell: Callable[[messages.Told], None] = field(init=False)

    def __post_init__(self) -> None:
        self.tell = self.worker.take
        self.listeners: dict[str, Any] = {}
        self.sessions: set[str] = set()

    async def drained(self) -> None:
        """Nothing waits: it is told at once."""

    @classmethod
    def of(cls, pipeline: Pipeline, told: Callable[[messages.Told], None]) -> "Inline":
        codec, vocab = pipeline.tokenizers.audio, pipeline.vocab
        assert codec is not None
        room, codes = pipeline.model.config.max_steps, codec.frame_rate * codec.codebooks
        known = "omni-tiny", room, codes, longest_text(pipeline)
        ready = messages.Ready("", codec.sample_rate, vocab.voices, vocab.languages, *known, 4, 0.2, 0.2)
        return cls(Worker(pipeline, told), ready)


def answering(pipeline: Pipeline) -> Inline:
    """One that does at once what it is told, and says to whom it concerns what comes of it."""

    def hand_over(message: messages.Told) -> None:
        if message.talk in process.listeners:
            process.listeners[message.talk](message)

    process, waiting = Inline.of(pipeline, hand_over), deque[messages.Told]()

    def tell(message: messages.Told) -> None:
        waiting.append(message)
        if len(waiting) > 1:                                            # it is at work, and will come to it
            return
        while waiting:
            process.worker.take(waiting[0])
            while process.worker.busy:
                process.worker.work()
            waiting.popleft()

    process.tell = tell
    return process


class Talking:
    """A session with its model. `events` is all that was sent to the client, each of the openai package's shape."""

    def __init__(
        self, pipeline: Pipeline, guards: Guards | None = None, kind: str = "realtime", limits: Any = None,
        aside: Aside = at_once,
    ) -> None:  # fmt: skip
        self.faulty = False                                             # whether faults of ours are wanted
        self.told: list[messages.Told] = []
        self.events: list[dict[str, Any]] = []
        process: Any = Inline.of(pipeline, self.told.append)
        self.worker = process.worker
        self.worker.take(messages.Open("talk"))
        self.session = Session(Line(process, "talk"), self._sent, 600, aside, guards, limits, kind)

    @property
    def talk(self) -> Any:
        return self.worker.talks["talk"]

    def say(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Send a client event and let the model work until it has nothing to do; what was sent back."""
        return self.raw(json.dumps({"type": kind, **fields}))

    def raw(self, text: str, steps: int | None = None) -> list[dict[str, Any]]:
        """The same with any text; at most `steps` steps of the model's work."""
        mark = len(self.events)
        self.session.take(text)
        self.work(steps)
        return self.events[mark:]

    def work(self, steps: int | None = None) -> None:
        self._hand_over()
        while self.worker.busy and steps != 0:
            self.worker.work()
            self._hand_over()
            steps = None if steps is None else steps - 1

    def hear(self, wave: Wave, chunk: int = 480, steps: int | None = None) -> list[dict[str, Any]]:
        """Upload a wave at 24 kHz in chunks; the model works in between as far as `steps` a chunk allow."""
        mark = len(self.events)
        for start in range(0, len(wave), chunk):
            audio = to_base64(wave[start : start + chunk], "audio/pcm")
            self.raw(json.dumps({"type": "input_audio_buffer.append", "audio": audio}), steps)
        return self.events[mark:]

    def _hand_over(self) -> None:
        while self.told:
            self.session.told(self.told.pop(0))

    def _sent(self, event: dict[str, Any]) -> None:
        event = json.loads(json.dumps(event))
        SCHEMA.validate_python(event)
        assert self.faulty or event.get("error", {}).get("type") != "server_error", event
        self.events.append(event)


class Calm:
    """A guard that minds no answer."""

    def feed(self, samples: Wave, transcript: str) -> str | None:
        return None


def noted(process: Any) -> list[messages.Told]:
    """What a process is told from now on."""
    orders, tell = list[messages.Told](), process.tell
    process.tell = lambda message: (orders.append(message), tell(message))
    return orders


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Types in order, runs of one type once."""
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event["type"]:
            found.append(event["type"])
    return found


def silence(seconds: float, seed: int = 0) -> Wave:
    """A quiet room at 24 kHz."""
    return np.random.default_rng(seed).normal(0, 2e-4, int(seconds * 24_000)).astype(np.float32)


def resampled(wave: Wave, rate: int, wanted: int) -> Wave:
    resampler = Resampler(rate, wanted)
    return np.concatenate((resampler(wave), resampler.finish()))


def text(words: str, **more: Any) -> dict[str, Any]:
    """An item of the user."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}], **more}


def only(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one event of this type."""
    (found,) = [event for event in events if event["type"] == kind]
    return found


def refused(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What is wrong, where nothing else was sent."""
    assert [event["type"] for event in events] == ["error"]
    return events[0]["error"]
