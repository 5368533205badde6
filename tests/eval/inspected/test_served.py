"""A real HTTP endpoint that answers, fails for a while, or is dead."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from inspect_ai.model import get_model

import omni.safety.registry  # noqa: F401
from omni.eval.suite.run import Plan, run_suite
from omni.safety.registry import spoken_qa, translate

TONE = (0.1 * np.sin(np.arange(4800) / 9)).astype(np.float32)


class Endpoint(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]]
    failing = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body)
        if type(self).failing > 0:
            type(self).failing -= 1
            self.send_error(503)
            return
        file = io.BytesIO()
        soundfile.write(file, TONE, 24000, format="WAV")
        said = {"data": base64.b64encode(file.getvalue()).decode(), "transcript": "bell"}
        message = {"content": "bell", "audio": said}
        answer = json.dumps({"choices": [{"message": message}], "usage": {"total_tokens": 3}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Endpoint.asked, Endpoint.failing = [], 0
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "q.wav", TONE, 24000)
    choice = {"audio": "q.wav", "text": "what?", "target": "bell", "choices": ["bell", "owl"]}
    lines = [choice, {"audio": "q.wav", "target": "owl"}]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_any_endpoint_is_asked_in_words_and_its_sound_is_kept(address: str, rows: Path, tmp_path: Path) -> None:
    plan = Plan(get_model("served/thing", base_url=address, memoize=False), rows, 5, 0, "served")
    (one,) = run_suite([spoken_qa], plan, tmp_path / "out")
    assert (one.given, one.scored, one.errored) == (2, 2, 0) and one.figures["spoken_qa_accuracy"].value == 0.5
    told = next(body for body in Endpoint.asked if len(body["messages"][0]["content"]) == 3)["messages"][0]["content"]
    assert [part["type"] for part in told] == ["input_audio", "text", "text"] and "A. bell\nB. owl" in told[2]["text"]
    assert all(len(sample.output.message.content) == 2 for sample in one.samples)


def test_what_passes_is_tried_again_and_a_dead_endpoint_leaves_a_partial_result(
    rows: Path, tmp_path: Path, address: str
) -> None:
    Endpoint.failing = 1
    model = get_model("served/thing", base_url=address, memoize=False)
    (one,) = run_suite([translate], Plan(model, rows, 1, 0, "again"), tmp_path / "again")
    assert one.scored == 1 and len(Endpoint.asked) == 2
    dead = get_model("served/thing", base_url="http://127.0.0.1:9/v1", memoize=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omni.eval.suite.run.RETRIES", 0)
        (one,) = run_suite([translate], Plan(dead, rows, 5, 0, "dead"), tmp_path / "dead")
    assert one.partial and (one.given, one.scored, one.errored) == (2, 0, 2) and not one.figures
    assert "2 samples could not be asked or answered" in one.note
