"""One question to a model outside of a session: what the HTTP endpoints have in common."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from omni.decode.parts import Part
from omni.live.engine import messages
from omni.live.engine.messages import Ask
from omni.live.engine.pool import FullError, Line, Pool
from omni.live.protocol.events import fresh

LARGEST_BODY = 64 << 20                                                 # bytes of one request


class RefusedRequestError(Exception):
    """A request that cannot be answered, as OpenAI's error object and HTTP status."""

    def __init__(
        self, message: str, status: int = 400, param: str | None = None, code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.param, self.code, self.kind = status, param, code, kind

    def response(self) -> JSONResponse:
        about = {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": about}, self.status)


@asynccontextmanager
async def conversation(pool: Pool) -> "AsyncIterator[tuple[Line, asyncio.Queue[messages.Told | None]]]":
    """A conversation of its own for one request, and what the model says in it."""
    said: asyncio.Queue[messages.Told | None] = asyncio.Queue()
    try:
        line = pool.talk(fresh("talk"), said.put_nowait)
    except FullError as error:
        raise RefusedRequestError(str(error), 503, code="server_full", kind="server_error") from None
    try:
        yield line, said
    finally:
        line.close()


async def answer(pool: Pool, parts: tuple[Part, ...], ask: Ask, system: str = "") -> AsyncIterator[messages.Told]:
    """The pieces of the answer to these parts, and last `Ended`. Raises RefusedRequestError when there is none."""
    async with conversation(pool) as (line, said):
        line.tell(messages.Answer(line.name, "answer", ask, None, None, parts, system))
        while True:
            message = await said.get()
            if message is None:
                raise RefusedRequestError("the model's process died; ask again", 503, kind="server_error")
            if isinstance(message, messages.Failed):
                raise RefusedRequestError(message.message)
            yield message
            if isinstance(message, messages.Ended):
                return


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object. Raises RefusedRequestError for a body that is none or too large."""
    if int(request.headers.get("content-length") or 0) > LARGEST_BODY:
        raise RefusedRequestError(f"the body is larger than {LARGEST_BODY >> 20} MiB", 413)
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        raise RefusedRequestError("the body is not JSON; send a JSON object") from None
    if not isinstance(body, dict):
        raise RefusedRequestError("the body is JSON but no object")
    return body


def integer(body: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    """A whole number of the request. Raises RefusedRequestError outside of least .. most."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedRequestError(f"{name} is {value!r}; use {least} to {most}", param=name)
    return value


def number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number of the request. Raises RefusedRequestError outside of least .. most."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedRequestError(f"{name} is {value!r}; use {least:g} to {most:g}", param=name)
    return float(value)
