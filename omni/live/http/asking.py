"""One question to a model outside of a session: what the HTTP endpoints have in common."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message

from omni.decode.parts import Audio, Part, Text
from omni.decode.samplers import GREEDY
from omni.live.engine import messages
from omni.live.engine.messages import Ask
from omni.live.engine.pool import FullError, Line, Pool
from omni.live.guard import Guards, Watch
from omni.live.protocol.events import TOO_LONG, RefusedError, fresh, writable
from omni.live.protocol.settings import language_of, preset
from omni.live.transcript import CUT, most_tokens

log = logging.getLogger("omni.live")
T = TypeVar("T", int, float)
M = TypeVar("M")
MOST_VALUES = 100_000                                                   # of one body: more would keep others waiting
LARGEST_BODY = 64 << 20                                                 # bytes of one request
TEXTS = 64                                                              # of the longest, in a body of nothing else
HOLD_MORE = (b'"input_audio"', b'"image_url"')                          # what recordings and pictures come as


class RefusedRequestError(Exception):
    """A request that cannot be answered, as OpenAI's error object and HTTP status."""

    def __init__(
        self, message: str, status: int = 400, param: str | None = None, code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.param, self.code, self.kind = status, param, code, kind

    def response(self) -> JSONResponse:
        return JSONResponse(self.as_event(), self.status)

    def as_event(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


class FilteredError(RefusedRequestError):
    """What a guard does not let be asked, or said."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, 403, code="content_filter")


@asynccontextmanager
async def conversation(pool: Pool) -> "AsyncIterator[tuple[Line, asyncio.Queue[messages.Told | None]]]":
    """A conversation of its own for one question, and what the model says in it.

    It is over when the model has said all, not when that was read: no slow reader keeps a place from others.
    """
    said: asyncio.Queue[messages.Told | None] = asyncio.Queue()

    def listen(message: messages.Told | None) -> None:
        said.put_nowait(message)
        if isinstance(message, messages.Ended | messages.Failed):
            line.close()

    try:
        line = pool.talk(fresh("talk"), listen)
    except FullError as error:
        raise RefusedRequestError(str(error), 503, code="server_full", kind="server_error") from None
    try:
        yield line, said
    finally:
        line.close()


async def answer(
    pool: Pool, parts: tuple[Part, ...], ask: Ask, param: str, system: str = "", mute: str = ""
) -> AsyncIterator[messages.Told]:
    """The pieces of the answer to these parts, and last `Ended`. Raises RefusedRequestError when there is none.

    param: where in the request they come from; system, mute: as in messages.Answer
    """
    async with conversation(pool) as (line, said):
        await line.drained()
        line.tell(messages.Answer(line.name, "answer", ask, None, None, parts, system, mute))
        while True:
            message = await said.get()
            if message is None:
                raise RefusedRequestError("the model's process died; ask again", 503, kind="server_error")
            if isinstance(message, messages.Failed) and message.full:
                raise RefusedRequestError(message.message, 503, code="server_full", kind="server_error")
            if isinstance(message, messages.Failed) and message.long:
                raise RefusedRequestError(message.message, param=param, code=TOO_LONG)
            if isinstance(message, messages.Failed):
                kind = "server_error" if message.fault else "invalid_request_error"
                raise RefusedRequestError(message.message, 500 if message.fault else 400, kind=kind)
            if not isinstance(message, messages.Began):                 # of use where an answer may be stopped
                yield message
            if isinstance(message, messages.Ended):
                return


def bounded(request: Request, most: int | None = None) -> Request:
    """The same request, whose body raises RefusedRequestError beyond `most` bytes, `LARGEST_BODY` where not given."""
    read, most = 0, LARGEST_BODY if most is None else most

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > most:                                                 # a length told beforehand proves nothing
            raise RefusedRequestError(f"the body is larger than {most >> 20} MiB", 413)
        return message

    return Request(request.scope, receive)


async def json_body(request: Request, known: "Known", param: str) -> dict[str, Any]:
    """The request's JSON object; param: where its texts are. Raises RefusedRequestError for a body that is none or too
    large.
    """
    data = await request.body()
    if data.count(b",") > MOST_VALUES:                                  # texts have some, and no base64 any
        raise RefusedRequestError(f"the body has more than {MOST_VALUES:,} values, or commas", 413)
    if len(data) > TEXTS * known.longest_text and not any(name in data for name in HOLD_MORE):
        message = f"texts of {len(data):,} bytes are more than this model can be given; shorten them"
        raise RefusedRequestError(message, param=param, code=TOO_LONG)
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        raise RefusedRequestError("the body is not JSON; send a JSON object") from None
    if not isinstance(body, dict):
        raise RefusedRequestError("the body is JSON but no object")
    if b"\\u" in data and not writable(body):
        raise RefusedRequestError("the body has half of a surrogate pair, which is no letter; send both")
    return body


def words(body: Mapping[str, Any], name: str, default: str = "") -> str:
    """A text of the request. Raises RefusedRequestError for what is none."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise RefusedRequestError(f"{name} must be a text", param=name)
    return default if value is None else value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """Whether the request wants something. Raises RefusedRequestError for what is neither true nor false."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise RefusedRequestError(f"{name} must be true or false", param=name)
    return bool(value)


def within(body: dict[str, Any], name: str, default: T, least: float, most: float) -> T:
    """A number of the request, whole where the default is. Raises RefusedRequestError outside of least .. most."""
    value = body.get(name)
    if value is None:
        return default
    kinds = int if isinstance(default, int) else int | float
    if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedRequestError(f"{name} is {value!r}; use {least} to {most}", param=name)
    return type(default)(value)


async def watched(
    said: AsyncIterator[messages.Told], guards: Guards | None, voice: str | None, rate: int
) -> AsyncIterator[messages.Told]:
    """The same messages under the guards. Raises FilteredError where one stops the answer, or fails."""
    watch = Watch(guards.answer(voice), rate) if guards else None
    async for message in said:
        reason = None
        if watch is not None and isinstance(message, messages.Said):
            _, reason = await asyncio.to_thread(watch.look, [message])
        elif watch is not None and isinstance(message, messages.Ended):
            reason = await asyncio.to_thread(watch.end)
        if reason is not None:
            raise FilteredError(reason)
        yield message


async def transcribing(pool: Pool, heard: Audio, language: str | None, param: str) -> AsyncIterator[messages.Told]:
    """What is said in a recording, piece by piece. Raises RefusedRequestError too where a part of it has no room.

    param: as in `answer`
    """
    seconds = len(np.asarray(heard.source)) / (heard.sample_rate or Known(pool).rate)
    most = most_tokens(seconds)
    how = {"language": language, "sampler": GREEDY, "max_tokens": most, "verbatim": True}
    async for message in answer(pool, (heard,), Ask(("text",), how), param):
        if isinstance(message, messages.Ended) and message.cut and message.said.get("text", 0) < most:
            raise RefusedRequestError(CUT, param=param, code="input_too_long")
        yield message


async def begun(said: AsyncIterator[M]) -> AsyncIterator[M]:
    """The same messages, once the first is there: what is wrong from the start can still be told by the status."""
    first = await anext(said)

    async def all_of() -> AsyncIterator[M]:
        yield first
        async for message in said:
            yield message

    return all_of()


def sent(event: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"


async def sending(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Server-sent events; the last tells what kept them from going on, where something did."""
    try:
        async for event in events:
            yield sent(event)
    except RefusedRequestError as error:
        yield sent(error.as_event())
    except Exception as error:
        log.error("a streamed answer failed", exc_info=error)
        yield sent(fault(error).as_event())


def fault(error: Exception) -> RefusedRequestError:
    """A fault of ours, as the client is told of it."""
    return RefusedRequestError(f"the server failed at it ({type(error).__name__})", 500, kind="server_error")


@dataclass(frozen=True)
class Known:
    """What the pool's model can do, as requests name it."""

    pool: Pool

    @property
    def rate(self) -> int:
        """Of its codec, in hertz."""
        return self._facts().sample_rate

    @property
    def name(self) -> str:
        return self._facts().name

    @property
    def longest_text(self) -> int:
        """Bytes of the longest text that can fit."""
        return self._facts().longest_text

    @property
    def codes_a_second(self) -> float:
        """Of its speech."""
        return self._facts().codes_a_second

    def voice(self, name: object, param: str) -> str | None:
        """One of its own voices, the first where none is named. Raises RefusedRequestError for any other."""
        facts = self._facts()
        try:
            chosen = name.get("id") if isinstance(name, dict) else name
            if chosen is not None and not isinstance(chosen, str):
                raise RefusedError("name one of the model's voices")
            return preset(chosen, facts) if chosen else (*facts.voices, None)[0]
        except RefusedError as error:
            raise RefusedRequestError(str(error), param=param) from None

    def language(self, name: object) -> str | None:
        """One of its languages, by its code or as that of a region, such as fr-FR; None, the model's choice, where none
        is named. Raises RefusedRequestError for any other.
        """
        found = language_of(name, self._facts())
        if found is None and name is not None:
            raise RefusedRequestError(f"language {name!r} is not one of the model's", param="language")
        return found

    def check_room(self, parts: Iterable[Part], param: str) -> None:
        """Raise RefusedRequestError for more text than the model can be given at once, before anybody waits for it."""
        text = "".join(part.text for part in parts if isinstance(part, Text))
        if why := self._facts().too_long(text):
            raise RefusedRequestError(why, param=param, code=TOO_LONG)

    def _facts(self) -> messages.Ready:
        if self.pool.facts is None:
            raise RefusedRequestError("the model is starting; try again in a moment", 503, kind="server_error")
        return self.pool.facts
