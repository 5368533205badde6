"""Fixtures of live speech: the shipped model, a session with it, and something said."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from talking import Talking

from omni.decode.pipeline import Pipeline
from omni.live.hearing.pcm import RATES, Wave
from omni.tokenizers.audio.wavefile import read_wave


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
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wave]:
    """A sentence at 24 kHz, from its first to its last voiced sample."""
    program = shutil.which("flite") or shutil.which("espeak-ng")
    if program is None:
        pytest.skip("no flite and no espeak-ng here to speak with")
    path = tmp_path_factory.mktemp("voice") / "said.wav"
    text = "what is this picture"
    flags = ["-t", text, "-o", str(path)] if Path(program).name == "flite" else ["-w", str(path), text]
    subprocess.run([program, *flags], check=True, capture_output=True, timeout=60)
    wave = read_wave(path, RATES["audio/pcm"])
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    yield wave[loud[0] : loud[-1] + 1]
