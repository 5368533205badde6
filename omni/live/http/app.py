"""The application: every endpoint, behind one door."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.http.asking import RefusedRequestError, bounded
from omni.live.http.chat import Chat
from omni.live.http.door import STRANGER, Door
from omni.live.http.metrics import Metrics
from omni.live.http.realtime import Realtime
from omni.live.http.speech import Sounds

PAGE = Path(__file__).parent.parent / "page"
Endpoint = Callable[[Request], Awaitable[Response]]


def application(pool: Pool, door: Door, guards: Guards | None = None, page: bool = True) -> Starlette:
    """The server as an ASGI application; whoever runs it starts the pool. page: whether the demo page is served."""
    metrics = Metrics()
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

    def guarded(endpoint: Endpoint) -> Endpoint:
        """Behind the door, counted, and with OpenAI's error object for what is refused."""

        async def behind(request: Request) -> Response:
            path = request.scope["route"].path if "route" in request.scope else request.url.path
            try:
                if not door.from_here(request):
                    raise RefusedRequestError(STRANGER, 403)
                if door.key(request) is None:
                    raise RefusedRequestError(
                        "wrong or missing key; send Authorization: Bearer KEY", 401, code="invalid_api_key"
                    )
                response = await endpoint(bounded(request))
            except RefusedRequestError as error:
                response = error.response()
            except HTTPException as error:                              # a form that is none
                response = RefusedRequestError(error.detail, error.status_code).response()
            metrics.requests.labels(path, str(response.status_code)).inc()
            return response

        return behind

    async def index(_: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"content-security-policy": POLICY})

    def post(path: str, endpoint: Endpoint) -> Route:
        return Route(path, guarded(endpoint), methods=["POST"])

    routes = [
        WebSocketRoute("/v1/realtime", Realtime(pool, door, metrics, guards).__call__),
        post("/v1/chat/completions", chat.__call__),
        post("/v1/audio/speech", sounds.speak),
        post("/v1/audio/transcriptions", sounds.transcribe),
        post("/v1/images/generations", sounds.draw),
        Route("/v1/models", guarded(models)),
        Route("/v1/models/{model}", guarded(models)),
        Route("/healthz", health),
        Route("/metrics", guarded(measured)),
    ]
    if page:
        routes += [Route("/", index), Route("/about.json", voices), Mount("/page", StaticFiles(directory=PAGE))]
    return Starlette(routes=routes)


# Nothing from or to elsewhere, and no script or style in the page itself.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
