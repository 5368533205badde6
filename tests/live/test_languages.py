"""In which language answers are asked for, over HTTP and in sessions, and recordings written down."""

import base64
import io
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from talking import Calm, Talking, answering, noted, refused

from omni.decode.pipeline import Pipeline
from omni.live.engine import messages
from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.http.app import application
from omni.live.http.door import Door

PATHS = ["chat/completions", "audio/speech", "audio/transcriptions"]


def asked(pipeline: Pipeline, path: str, language: str | None) -> tuple[Any, list[str | None]]:
    """What is answered to a recording, or a text to say, and the languages that the model was asked for, under guards
    that look at what is asked.
    """
    process: Any = answering(pipeline)
    orders = noted(process)
    guards = Guards(lambda voice: Calm(), lambda said: None)
    client = TestClient(application(Pool([process], 1), Door(), guards), base_url="http://localhost")
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 12_000), 24_000, format="WAV")
    sound = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    content = [{"type": "input_audio", "input_audio": sound}]
    named = {} if language is None else {"language": language}
    given: dict[str, Any] = {
        "chat/completions": {"json": {"messages": [{"role": "user", "content": content}], "max_tokens": 2, **named}},
        "audio/speech": {"json": {"input": "Oui", "response_format": "pcm", **named}},
        "audio/transcriptions": {"files": {"file": ("x.wav", file.getvalue())}, "data": named},
    }
    answer = client.post(f"/v1/{path}", **given[path])
    return answer, [one.ask.how["language"] for one in orders if isinstance(one, messages.Answer)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("named", "language"), [
        (None, None), ("fr", "fr"), ("fr-FR", "fr"), ("FR", "fr"), ("es-419", "es-419"), ("zh-CN", "zh-cn"),
    ],
)  # fmt: skip
def test_the_language_is_that_which_is_named_and_else_the_models_choice(
    pipeline: Pipeline, path: str, named: str | None, language: str | None
) -> None:
    answer, languages = asked(pipeline, path, named)
    assert answer.status_code == 200
    assert languages == [language] * (2 if "chat" in path else 1)       # a question is written down for the guards


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("named", ["xx", "french", "-fr", "x-fr"])
def test_what_names_none_of_the_models_languages_is_refused(pipeline: Pipeline, path: str, named: str) -> None:
    answer, languages = asked(pipeline, path, named)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "language" and not languages


@pytest.mark.parametrize(("named", "language"), [("fr", "fr"), ("fr-FR", "fr"), ("zh-CN", "zh-cn")])
def test_a_session_answers_and_writes_down_in_the_language_of_a_region(
    talking: Talking, named: str, language: str
) -> None:
    transcription = {"model": "whisper-1", "language": named}
    heard = {"turn_detection": None, "transcription": transcription}
    talking.say("session.update", session={"type": "realtime", "audio": {"input": heard}})
    assert talking.session.settings.ask.how["language"] == language
    orders = noted(talking.session.line.process)
    talking.hear(np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32))
    talking.say("input_audio_buffer.commit")
    assert [one.language for one in orders if isinstance(one, messages.Transcribe)] == [language]
    talking.say("session.update", session={"type": "realtime", "audio": {"output": {"language": "ru-RU"}}})
    assert talking.session.settings.ask.how["language"] == "ru"


@pytest.mark.parametrize("named", ["xx", "french", 5, ["fr"]])
def test_a_session_is_not_answered_in_a_language_that_the_model_has_not(talking: Talking, named: Any) -> None:
    told = talking.say("session.update", session={"type": "realtime", "audio": {"output": {"language": named}}})
    assert refused(told)["param"] == "session.audio.output.language"
