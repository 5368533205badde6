"""Live speech as Inspect tasks: recordings of people are said to a server in real time, and the client's clock is read.

    inspect eval omni/latency --model omni/omni-tiny -T data=runs/voiced
    inspect eval omni/latency --model served/omni-tiny --model-base-url http://127.0.0.1:8700/v1 -T data=runs/voiced

A model of ours gets a server of its own, which lives until the process ends.
"""

import asyncio
import atexit
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from inspect_ai import Task, task
from inspect_ai.model import ContentAudio, GenerateConfig, Model, ModelOutput, get_model
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from omni.errors import InputError
from omni.eval.inspected.messages import read_sound
from omni.eval.tasks.examine import OURS, examine, refuse_bad
from omni.eval.tasks.hearing import played, recorded
from omni.eval.tasks.measures import measured, scored
from omni.eval.tasks.records import Record, records
from omni.shipped import named_model
from omni.train.data.items import Manifest

if TYPE_CHECKING:
    from omni.eval.live.client import Client
    from omni.eval.live.recordings import Question

SAID = "turn"                                                           # in a sample's store: what was measured

Talk = Callable[["Client", "Question", np.random.Generator], Awaitable[dict[str, Any]]]


@task
def latency(data: str | None = None, n: int | None = 20, seed: int = 0, url: str | None = None, key: str = "") -> Task:
    """From the end of what a person says to the first audible sound of the answer; its parts, and false starts."""
    return _live("latency", data, n, seed, converse(url, key), [
        timing("min_ms", "least ms", "latency"), timing("mean_ms", "mean ms", "latency"),
        timing("p50_ms", "p50 ms", "latency"), timing("p95_ms", "p95 ms", "latency"),
        timing("max_ms", "most ms", "latency"), timing("detection_ms", "mean ms", "detection"),
        timing("token_ms", "mean ms", "token"), timing("codec_ms", "mean ms", "codec"),
        timing("leading_ms", "mean ms", "leading"),
        timing("false_start_rate", "share", "false_start"),
        timing("false_start_rate_with_pauses", "share", "false_start_in_pause"),
        timing("answered", "share", "answered"),
    ])  # fmt: skip


@task
def barge_in(data: str | None = None, n: int | None = 10, seed: int = 0, url: str | None = None, key: str = "") -> Task:
    """From the user's first sound in an answer to its end, and whether more of it is kept than was heard."""
    return _live("barge_in", data, n, seed, interrupt(url, key), [
        timing("stop_ms_p50", "p50 ms", "stop_ms"), timing("stop_ms_p95", "p95 ms", "stop_ms"),
        timing("stop_from_first_sound_ms_p50", "p50 ms", "from_first_sound_ms"),
        timing("stop_from_first_sound_ms_p95", "p95 ms", "from_first_sound_ms"),
        timing("kept_beyond_heard_ms_max", "most ms", "beyond_ms"), timing("interrupted", "share", "interrupted"),
    ])  # fmt: skip


def timing(name: str, kind: str, part: str) -> Scorer:
    """A figure of one part of what was measured; a turn that lacks it (an answer never came) is not in it."""

    @scorer(metrics=[measured(name)], name=name)
    def timed() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score | None:
            found: dict[str, Any] = state.store.get(SAID, {})
            value = found.get(part)
            return None if value is None else scored(kind, [float(value)], state.metadata, "", float(value))

        return score

    return timed()


@solver
def converse(url: str | None = None, key: str = "") -> Solver:
    """Say the sample's recording, and measure when it is answered."""

    async def turn(client: "Client", question: "Question", random: np.random.Generator) -> dict[str, Any]:
        from omni.eval.live.latency import one_turn
        from omni.eval.live.summary import PAUSE

        found = asdict(await one_turn(client, question, random))
        paused = found["false_start"] if found["pause"] >= PAUSE else None
        return {**found, "answered": found["latency"] is not None, "false_start_in_pause": paused}

    return _talked(turn, url, key)


@solver
def interrupt(url: str | None = None, key: str = "") -> Solver:
    """Speak into an answer, and measure when it falls silent."""

    async def turn(client: "Client", question: "Question", random: np.random.Generator) -> dict[str, Any]:
        from omni.eval.live.barge_in import ASKED, interrupted

        for asked in ASKED:
            if found := await interrupted(client, asked, question, random):
                return {**asdict(found), "interrupted": True, "beyond_ms": found.kept_ms - found.heard_ms}
        return {"interrupted": False}                                   # every answer was over before

    return _talked(turn, url, key)


def _live(name: str, data: str | None, n: int | None, seed: int, by: Solver, scorers: list[Scorer]) -> Task:
    if missing := [one for one in ("websockets", "starlette", "silero_vad") if find_spec(one) is None]:
        raise InputError(f'{name}: needs {missing[0]}; install it with pip install "omni[live]"')
    one_by_one = GenerateConfig(max_connections=1)                      # conversations would wait for each other
    return examine(name, records(data, _questions, n, seed), scorers, by=by, config=one_by_one)


def _questions(manifest: Manifest) -> Iterator[Record]:
    for item, one in recorded(manifest):
        groups = {"language": str(one.language), "speaker": str(one.speaker), "source": item.source}
        yield Record(f"{item.id}:{one.start}", item.texts[str(one.language)], (played(manifest, one),), groups=groups)


def _talked(turn: Talk, url: str | None, key: str) -> Solver:
    """One connection a sample; what fails on the way may pass, so a suite asks such a sample again."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        refuse_bad(state.metadata)
        question, model = _question(state), get_model()
        from omni.eval.live.client import connected

        random = np.random.default_rng(zlib.crc32(str(state.sample_id).encode()))
        where = url if url else await asyncio.to_thread(_address, model)
        try:
            async with connected(where, key or model.api.api_key or "") as client:
                found = await turn(client, question, random)
        except InputError as error:
            raise ConnectionError(str(error)) from None
        state.store.set(SAID, found)
        state.output = ModelOutput.from_content(str(model), ", ".join(f"{name} {one}" for name, one in found.items()))
        return state

    return solve


def _question(state: TaskState) -> "Question":
    """The sample's recording as a microphone has it, up to its last voiced sample. Raises InputError without one."""
    from omni.eval.live.client import RATE, at_client_rate, last_voiced, longest_pause
    from omni.eval.live.recordings import Question

    contents = state.messages[-1].content
    sounds = [one for one in contents if isinstance(one, ContentAudio)]
    if not sounds:
        raise InputError(f"{state.sample_id}: no recording to say; give `audio`")
    wave, rate = read_sound(sounds[-1])
    wave = at_client_rate(wave, rate) if rate != RATE else wave
    wave = wave[: last_voiced(wave)]
    if not len(wave):
        raise InputError(f"{state.sample_id}: nobody speaks in this recording")
    return Question(str(state.sample_id), wave, longest_pause(wave))


def _address(model: Model) -> str:
    """The WebSocket of the server behind a model's endpoint, or of one that is started for a model of ours."""
    if model.api.base_url:
        return re.sub(r"^http", "ws", model.api.base_url.rstrip("/")) + "/realtime"
    if not str(model).startswith(f"{OURS}/"):
        raise InputError(f"{model}: has no live speech; give -T url=ws://.../v1/realtime, or --model-base-url")
    return _started(str(named_model(model.name)))


@cache
def _started(folder: str) -> str:
    from omni.eval.live.serving import server

    return _SERVERS.enter_context(server(None, folder))


_SERVERS = ExitStack()
atexit.register(_SERVERS.close)
