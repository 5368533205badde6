"""What an endpoint is asked beside the question, and how often."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import inspect_ai
import pytest
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.tool import ToolInfo

from omni.errors import InputError
from omni.eval.inspected import served
from omni.eval.inspected.served import ServedModel
from omni.safety.registry import translate


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """Its address, what it was asked, and the statuses that it answers with before it is well."""
    asked: list[dict[str, Any]] = []
    ill: list[int] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = json.dumps({"choices": [{"message": {"content": "bell"}}]}).encode()
            self.send_response(ill.pop() if ill else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked, ill
    server.shutdown()


def ask(address: str, config: GenerateConfig, *tools: ToolInfo) -> str:
    model = ServedModel("thing", address)
    return asyncio.run(model.generate([ChatMessageUser(content="owl")], list(tools), "auto", config)).completion


def test_settings_are_passed_on_or_refused(endpoint: tuple[str, list[dict[str, Any]], list[int]]) -> None:
    address, asked, _ = endpoint
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "max_tokens": 5, "seed": 3, "frequency_penalty": 0.1,
             "presence_penalty": 0.2}  # fmt: skip
    assert ask(address, GenerateConfig(**given, stop_seqs=["."])) == "bell"
    assert {**given, "stop": ["."]}.items() <= asked[0].items()
    for settings, said in (({"logprobs": True}, "no logprobs on"), ({"num_choices": 2}, "no num_choices on")):
        with pytest.raises(InputError, match=f"served/ passes {said}; leave it out"):
            ask(address, GenerateConfig(**settings))
    with pytest.raises(InputError, match="served/ passes no tools on; leave search out"):
        ask(address, GenerateConfig(), ToolInfo(name="search", description=""))
    assert len(asked) == 1


def test_without_a_number_of_retries_a_request_is_tried_four_times(
    endpoint: tuple[str, list[dict[str, Any]], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `inspect eval`, whose default has no end."""
    address, asked, ill = endpoint
    monkeypatch.setattr(served, "PAUSES", (0.0,) * len(served.PAUSES))
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"text": "owl", "target": "bell"}))
    for failures, tried, error in ((3, 4, False), (100, 4, True)):
        ill[:], asked[:] = [503] * failures, []
        (log,) = inspect_ai.eval(
            translate(str(path)), model=get_model("served/thing", base_url=address, memoize=False),
            log_dir=str(tmp_path / "logs"), display="none",
        )  # fmt: skip
        (sample,) = log.samples or []
        assert len(asked) == tried and (sample.error is not None) == error
    assert "tried 4 times" in sample.error.message and "503" in sample.error.message
    ill[:], asked[:] = [503] * 9, []
    with pytest.raises(served.httpx.HTTPStatusError):                   # Inspect counts where it was told a number
        ask(address, GenerateConfig(max_retries=1))
    assert len(asked) == 1
