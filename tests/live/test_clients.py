"""Clients that everybody has, against a real `omni serve`. `make clients` runs these to their end, and others."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from omni.eval.live.serving import server
from omni.live.hearing.pcm import RATES, Wave

from .clients import agents_python, openai_python

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server(None, None) as address:
        yield address


@pytest.fixture(scope="module")
def recording(spoken: Wave, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clients") / "question.wav"
    soundfile.write(path, spoken, RATES["audio/pcm"], subtype="PCM_16")
    return path


def test_openai(url: str, recording: Path) -> None:
    from openai import AsyncOpenAI

    async def talk() -> None:
        client = AsyncOpenAI(base_url=http(url), api_key="none", max_retries=0, timeout=60)
        await openai_python.written(client)
        await openai_python.spoken(client, recording)
        await openai_python.transcribed(client, recording)

    asyncio.run(talk())


def test_openai_agents(url: str, recording: Path) -> None:
    asyncio.run(agents_python.main(url, recording))


def http(url: str) -> str:
    return url.replace("ws", "http", 1).removesuffix("/realtime")
