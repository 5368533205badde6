"""The WebSocket endpoint: one session a connection."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from omni.live.engine import messages
from omni.live.engine.pool import FullError, Pool
from omni.live.guard import Guards
from omni.live.http.door import NO_KEY, STRANGER, Allowance, Door
from omni.live.http.metrics import Metrics
from omni.live.protocol import events, items
from omni.live.protocol.events import Event
from omni.live.protocol.session import Session

log = logging.getLogger("omni.live")
T = TypeVar("T")
SLOW = 4 << 20                                                          # bytes that may wait for a slow reader
FIRST = ("response.output_audio.delta", "response.output_text.delta")   # what may begin an answer
PARTING = 1.0                                                           # seconds in which a connection is closed
BETA = "openai-beta.realtime-v1"
REFUSALS = {"per_key": "rate_limit_error", "server_full": "server_error"}  # types of error, where it is not the request
CLOSE_BETA, CLOSE_POLICY, CLOSE_BUSY, CLOSE_BROKEN = 4000, 1008, 1013, 1011


@dataclass
class Outbox:
    """Events on their way to a client. A reader so slow that `SLOW` bytes wait is cut off."""

    metrics: Metrics
    waiting: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    size: int = 0
    overflowed: asyncio.Event = field(default_factory=asyncio.Event)
    _waits: float | None = None                                         # since when the user waits for an answer

    def send(self, event: Event) -> None:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        self.size += len(text)
        if self.size > SLOW:
            self.overflowed.set()
        self.waiting.put_nowait(text)
        if event["type"] == "error":
            self.metrics.errors.labels(event["error"]["code"] or "none").inc()
        elif event["type"] == "response.done":
            self.metrics.responses.labels(event["response"]["status"]).inc()
        self._measure(event["type"])

    def _measure(self, kind: str) -> None:
        """How long the user waits for the beginning of an answer."""
        if kind == "input_audio_buffer.speech_stopped":
            self._waits = time.monotonic()
        elif kind == "response.created":
            self._waits = self._waits or time.monotonic()
        elif kind in ("response.done", "input_audio_buffer.speech_started"):
            self._waits = None
        elif kind in FIRST and self._waits is not None:
            self.metrics.waits.observe(time.monotonic() - self._waits)
            self._waits = None

    def drop(self) -> None:
        """Forget what waits."""
        while not self.waiting.empty():
            self.waiting.get_nowait()

    async def empty(self, socket: WebSocket) -> None:
        """Hand everything to the socket, in order, as fast as the client takes it."""
        while True:
            text = await self.waiting.get()
            await socket.send_text(text)
            self.size -= len(text)


class Threads:
    """An `Aside` of one session: whichever thread is free does the work, and the loop goes on with what comes of it."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[Callable[[], Any], Callable[[Any], None]]] = asyncio.Queue()

    def __call__(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        self._waiting.put_nowait((work, then))

    async def run(self) -> None:
        """Until it is cancelled; nothing comes then of what a thread is still at."""
        while True:
            work, then = await self._waiting.get()
            then(await asyncio.to_thread(work))


@dataclass(frozen=True)
class Realtime:
    """Serves sessions with the pool's models to whom the door lets in."""

    pool: Pool
    door: Door
    metrics: Metrics
    guards: Guards | None = None

    async def __call__(self, socket: WebSocket) -> None:
        """The endpoint."""
        key = await self._admitted(socket)
        if key is None:
            return
        with self.door.opened(key), self.metrics.sessions.track_inprogress():
            await self._session(socket)

    async def _admitted(self, socket: WebSocket) -> str | None:
        """The key of a client that may come in; any other is told why not and gone."""
        offered = [name.strip() for name in socket.headers.get("sec-websocket-protocol", "").split(",")]
        key = self.door.key(socket)
        beta = "realtime=v1" in socket.headers.get("openai-beta", "") or BETA in offered
        refusals = {
            (CLOSE_POLICY, "origin"): None if self.door.from_here(socket) else STRANGER,
            (CLOSE_POLICY, "invalid_api_key"): NO_KEY if key is None else None,
            (CLOSE_BETA, "beta"): "the beta shape of this protocol is retired; leave out OpenAI-Beta" if beta else None,
            (CLOSE_BUSY, "per_key"): self.door.full(key or ""),
        }  # fmt: skip
        await socket.accept(subprotocol="realtime" if "realtime" in offered else None)
        for (code, why), reason in refusals.items():
            if reason is not None:
                await self._refuse(socket, code, why, reason)
                return None
        return key

    async def _refuse(self, socket: WebSocket, code: int, why: str, reason: str) -> None:
        self.metrics.refused.labels(why).inc()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.send_text(json.dumps(events.error(reason, why, kind=REFUSALS.get(why, ""))))
        await self._close(socket, code, reason)

    async def _session(self, socket: WebSocket) -> None:
        outbox, lost = Outbox(self.metrics), asyncio.Event()
        name = events.fresh("talk")

        def told(message: messages.Told | None) -> None:
            if message is None:
                lost.set()
                self.metrics.deaths.inc()
                session.lost()
            else:
                session.told(message)

        try:
            line = self.pool.talk(name, told, live=True)
        except FullError as error:
            await self._refuse(socket, CLOSE_BUSY, "server_full", str(error))
            return
        try:
            allowance = Allowance(self.door.events)
            kind = "transcription" if socket.query_params.get("intent") == "transcription" else "realtime"
            aside, limits = Threads(), allowance.as_event
            session = Session(line, outbox.send, self.door.seconds, aside, self.guards, limits, kind)
            await self._run(socket, session, outbox, lost, allowance, aside)
        finally:
            line.close()

    async def _run(
        self, socket: WebSocket, session: Session, outbox: Outbox, lost: asyncio.Event, allowance: Allowance,
        aside: Threads,
    ) -> None:  # fmt: skip
        """Read and write until one of many ends comes."""
        reading = asyncio.create_task(self._read(socket, session, outbox, allowance))
        writing, guarding = asyncio.create_task(outbox.empty(socket)), asyncio.create_task(aside.run())
        ends = [asyncio.create_task(event.wait()) for event in (lost, outbox.overflowed)]
        tasks = [reading, writing, guarding, *ends]
        try:
            await asyncio.wait(tasks, timeout=self.door.seconds, return_when=asyncio.FIRST_COMPLETED)
            if ends[1].done():
                reading.cancel()                                        # nothing more is answered, or kept
                outbox.drop()
                await self._close(socket, CLOSE_POLICY, "the client reads too slowly")
            elif ends[0].done():
                await asyncio.wait([writing], timeout=0.5)               # for what the session said about it
                await self._close(socket, CLOSE_BROKEN, "the model died; open a new session")
            elif reading.done() and not reading.cancelled() and reading.exception() is None:
                await self._end(socket, outbox, writing, *reading.result())
            elif not any(task.done() for task in tasks):
                told = f"a session lasts {self.door.seconds:g} s at most; open a new one"
                await self._end(socket, outbox, writing, "session_expired", told)
        finally:
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            for error in found:
                if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect | RuntimeError):
                    log.error("a session ended with %r", error, exc_info=error)

    async def _end(
        self, socket: WebSocket, outbox: Outbox, writing: "asyncio.Task[None]", code: str, reason: str
    ) -> None:  # fmt: skip
        """Tell the client why, and close."""
        outbox.send(events.error(reason, code))
        await asyncio.wait([writing], timeout=0.2)
        await self._close(socket, CLOSE_POLICY, reason)

    async def _read(
        self, socket: WebSocket, session: Session, outbox: Outbox, allowance: Allowance
    ) -> tuple[str, str]:  # fmt: skip
        """Take the client's events; returns the code and the reason for which no more are taken.

        While it waits the socket is not read, so that the client has to.
        """
        sound, whole = Allowance(self.door.sound), Allowance(self.door.sound, items.LONGEST_RECORDING)
        while True:
            try:
                async with asyncio.timeout(self.door.idle):
                    received = await socket.receive()
            except TimeoutError:
                return "session_idle", f"no event came for {self.door.idle:g} s; open a new session"
            if received["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(received.get("code", 1000))
            await allowance.take()
            text: str | None = received.get("text")
            if text is None:
                outbox.send(events.error("binary messages are not events; send JSON as text", "invalid_json"))
                continue
            if text.count(",") > events.MOST_VALUES:                    # no base64 has any
                told = f"an event has {events.MOST_VALUES:,} values, or commas, at most"
                outbox.send(events.error(told, "invalid_value"))
                continue
            if '"input_image"' in text:
                text = await asyncio.to_thread(items.with_small_pictures, text)
            kind = None
            for part in events.slices(text):
                heard, handed = session.heard, session.handed
                kind = session.take(part)
                await sound.take(session.heard - heard)
                await whole.take(session.handed - handed)
                await session.line.drained()
                await asyncio.sleep(0)
            self.metrics.events.labels(kind or "refused").inc()

    @staticmethod
    async def _close(socket: WebSocket, code: int, reason: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(PARTING):                        # whoever does not read does not hear it either
                await socket.close(code, reason[:120])
