"""The application: every endpoint, behind one door."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.http.asking import RefusedRequestError, bounded, fault
from omni.live.http.chat import Chat
from omni.live.http.door import NO_KEY, STRANGER, Door
from omni.live.http.metrics import Metrics
from omni.live.http.realtime import Realtime
from omni.live.http.speech import Sounds

log = logging.getLogger("omni.live")
PAGE = Path(__file__).parent.parent / "page"
Endpoint = Callable[[Request], Awaitable[Response]]
HUNG_UP = 499                                                           # what nginx calls a client that went away


@dataclass(frozen=True)
class Guarded:
    """An endpoint behind the door, limited and counted, with OpenAI's error object for what is refused.

    asks: whether it asks the model, and is one of those that a key may have open
    """

    endpoint: Endpoint
    path: str
    door: Door
    metrics: Metrics
    asks: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From the request to the last byte that is read of the answer."""
        request, status = Request(scope, receive), 0

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        async def refuse(error: RefusedRequestError) -> None:
            if status:                                                  # the answer breaks off, as its client will see
                log.warning("an answer of %s broke off: %s", self.path, error)
            else:
                await error.response()(scope, receive, sending)

        try:
            async with asyncio.timeout(self.door.idle):
                with self._let_in(request):
                    await self.door.allowance(request.state.key).take()
                    response = await self._answered(request)
                    await response(scope, receive, sending)
        except RefusedRequestError as error:
            await refuse(error)
        except ClientDisconnect:                                        # nobody is left to be told
            status = status or HUNG_UP
        except HTTPException as error:                                  # a form that is none
            await refuse(RefusedRequestError(error.detail, error.status_code))
        except RecursionError:
            await refuse(RefusedRequestError("the body is nested too deeply"))
        except TimeoutError:
            told = f"the request took longer than {self.door.idle:g} s"
            await refuse(RefusedRequestError(told, 504, kind="server_error"))
        except Exception as error:                                      # of ours; the other requests go on
            log.error("%s failed", self.path, exc_info=error)
            await refuse(fault(error))
        finally:
            self.metrics.requests.labels(self.path, str(status)).inc()

    async def _answered(self, request: Request) -> Response:
        """What the endpoint answers. It is cancelled, and ClientDisconnect raised, once the client has hung up.

        Only one at a time may listen to the client: the endpoint until the body is whole, then this, at last the
        response, if it is streamed.
        """
        whole = asyncio.Event()

        async def receive() -> Message:
            message = await request.receive()
            if not message.get("more_body"):
                whole.set()
            return message

        async def hung_up() -> None:
            await whole.wait()
            while (await request.receive())["type"] != "http.disconnect":
                pass

        asked = asyncio.ensure_future(self.endpoint(bounded(Request(request.scope, receive))))
        gone = asyncio.ensure_future(hung_up())
        try:
            await asyncio.wait((asked, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:                                                        # the request's time may be over, too
            asked.cancel()
            gone.cancel()
            await asyncio.gather(asked, gone, return_exceptions=True)
        if asked.cancelled():
            raise ClientDisconnect
        return asked.result()

    def _let_in(self, request: Request) -> AbstractContextManager[None]:
        """Have `request.state.key` say who asks. Raises RefusedRequestError for who may not come in."""
        if not self.door.from_here(request):
            raise RefusedRequestError(STRANGER, 403)
        key = self.door.key(request)
        if key is None:
            raise RefusedRequestError(NO_KEY, 401, code="invalid_api_key")
        request.state.key = key
        if not self.asks:
            return nullcontext()
        if full := self.door.full(key):
            raise RefusedRequestError(full, 429, code="per_key", kind="rate_limit_error")
        return self.door.opened(key)


def application(pool: Pool, door: Door, guards: Guards | None = None, page: bool = True) -> Starlette:
    """The server as an ASGI application; whoever runs it starts the pool. page: whether the demo page is served."""
    metrics = Metrics(lambda: pool.open, lambda: pool.sessions)
    chat = Chat(pool, guards)
    sounds, began = Sounds(pool, guards), int(time.time())

    async def models(request: Request) -> Response:
        name = pool.facts.name if pool.facts else ""
        found = {"id": name, "object": "model", "created": began, "owned_by": "omni"}
        wanted = request.path_params.get("model")
        if wanted is None:
            return JSONResponse({"object": "list", "data": [found]})
        if wanted != name:
            message = f"there is no model {wanted!r}; this server has {name}"
            raise RefusedRequestError(message, 404, code="model_not_found")
        return JSONResponse(found)

    async def health(_: Request) -> Response:
        ready = [process.ready is not None for process in pool.processes]
        told = {"status": "ok" if all(ready) else "starting", "models": sum(ready), "sessions": pool.open}
        return JSONResponse(told, 200 if any(ready) else 503)

    async def measured(_: Request) -> Response:
        return PlainTextResponse(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    async def voices(_: Request) -> Response:
        facts = pool.facts
        known = {"voices": facts.voices, "languages": facts.languages, "model": facts.name} if facts else {}
        return JSONResponse({**known, "key": bool(door.keys)})

    async def index(_: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"content-security-policy": POLICY})

    def get(path: str, endpoint: Endpoint) -> Route:
        return Route(path, Guarded(endpoint, path, door, metrics), methods=["GET"])

    def post(path: str, endpoint: Endpoint) -> Route:
        return Route(path, Guarded(endpoint, path, door, metrics, asks=True), methods=["POST"])

    routes = [
        WebSocketRoute("/v1/realtime", Realtime(pool, door, metrics, guards).__call__),
        post("/v1/chat/completions", chat.__call__),
        post("/v1/audio/speech", sounds.speak),
        post("/v1/audio/transcriptions", sounds.transcribe),
        post("/v1/images/generations", sounds.draw),
        get("/v1/models", models),
        get("/v1/models/{model}", models),
        Route("/healthz", health),
        get("/metrics", measured),
    ]
    if page:
        routes += [Route("/", index), Route("/about.json", voices), Mount("/page", StaticFiles(directory=PAGE))]
    # Browsers ask beforehand, without the key, whether a page of another origin may send one.
    named = Middleware(CORSMiddleware, allow_origins=door.origins, allow_methods=("GET", "POST"), allow_headers=("*",))
    wrong = {404: _no_endpoint, 405: _no_endpoint}
    return Starlette(routes=routes, middleware=[named] if door.origins else [], exception_handlers=wrong)


async def _no_endpoint(request: Request, error: Exception) -> Response:
    """OpenAI's error object for a path or a method that is not served."""
    assert isinstance(error, HTTPException)
    code = "unknown_url" if error.status_code == 404 else "method_not_supported"
    message = f"{request.method} {request.url.path} is not served here"
    answer = RefusedRequestError(message, error.status_code, code=code).response()
    answer.headers.update(error.headers or {})
    return answer


# Nothing from or to elsewhere, and no script or style in the page itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
