"""Fixtures of live speech: the shipped model, a session with it, and something said."""

import pytest
from talking import Talking
from voice import read_aloud

from omni.decode.pipeline import Pipeline
from omni.live.hearing.pcm import Wave


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return Pipeline.load()


@pytest.fixture(autouse=True)
def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are drawn alike in every run."""
    monkeypatch.setattr("omni.live.protocol.settings.secrets.randbits", lambda bits: 7)


@pytest.fixture
def talking(pipeline: Pipeline) -> Talking:
    return Talking(pipeline)


@pytest.fixture(scope="session")
def spoken() -> Wave:
    """A sentence at 24 kHz, from its first to its last voiced sample."""
    wave = read_aloud()
    if wave is None:
        pytest.skip("no flite and no espeak-ng here to speak with")
    return wave
