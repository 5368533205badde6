"""Pages of other origins over HTTP: a browser lets those that are named ask, and no others."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from talking import Inline

from omni.decode.pipeline import Pipeline
from omni.live.engine.pool import Pool
from omni.live.http.app import application
from omni.live.http.door import Door

NAMED, OTHER = "https://talk.example", "https://evil.example"
ALLOWED = "access-control-allow-origin"
# What a browser asks before it lets a page send a key, JSON, and what else the openai package sends.
WISHES = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
PATHS = ["chat/completions", "audio/speech", "audio/transcriptions", "images/generations"]


def client_of(pipeline: Pipeline, *origins: str, keys: tuple[str, ...] = ("sesame",)) -> TestClient:
    process: Any = Inline.of(pipeline, lambda _: None)
    return TestClient(application(Pool([process], 1), Door(keys, origins)), base_url="http://localhost")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("origins", "told"), [((NAMED,), NAMED), ((OTHER, NAMED), NAMED), (("*",), "*")])
def test_a_page_that_is_named_may_ask_with_its_key(
    pipeline: Pipeline, path: str, origins: tuple[str, ...], told: str
) -> None:
    client = client_of(pipeline, *origins)
    before = client.options(f"/v1/{path}", headers={"origin": NAMED, **WISHES})
    assert before.status_code == 200 and before.headers[ALLOWED] == told
    assert "POST" in before.headers["access-control-allow-methods"]
    allowed = before.headers["access-control-allow-headers"]
    assert set(WISHES["access-control-request-headers"].split(",")) <= set(allowed.split(","))
    for key, status in (("sesame", 400), ("melon", 401)):               # why not is for the page to read, too
        answer = client.post(f"/v1/{path}", headers={"origin": NAMED, "authorization": f"Bearer {key}"}, content=b"")
        assert answer.status_code == status and answer.headers[ALLOWED] == told


def test_a_page_that_is_named_may_read_what_it_need_not_ask_for_beforehand(pipeline: Pipeline) -> None:
    answer = client_of(pipeline, NAMED, keys=()).get("/v1/models", headers={"origin": NAMED})
    assert answer.status_code == 200 and answer.headers[ALLOWED] == NAMED and "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origins", [(), (NAMED,)])
@pytest.mark.parametrize("keys", [(), ("sesame",)])
def test_any_other_page_may_neither_ask_nor_read(
    pipeline: Pipeline, origins: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    client = client_of(pipeline, *origins, keys=keys)
    before = client.options("/v1/chat/completions", headers={"origin": OTHER, **WISHES})
    assert before.status_code >= 400 and ALLOWED not in before.headers
    for host in ("localhost", "evil.example"):                          # or by a name that was made to lead here
        headers = {"origin": OTHER, "host": host, "authorization": "Bearer sesame"}
        answer = client.get("/v1/models", headers=headers)
        assert ALLOWED not in answer.headers
        assert answer.status_code == (200 if keys and host == "evil.example" else 403)
