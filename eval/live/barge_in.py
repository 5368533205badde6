"""`omni bench barge-in`: how soon an answer stops when the user speaks, and whether only what was heard is kept."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from omni.eval.live.client import RATE, Client, connected, first_voiced, playback, room, settle
from omni.eval.live.recordings import Question, questions
from omni.eval.live.serving import add_flags, asked_server
from omni.figures import Report
from omni.files import write_json
from omni.live.hearing.pcm import to_base64
from omni.live.hearing.voiced import BELOW
from omni.progress import progress

ASKED = ("Count to ten.", "Tell me about yourself.", "What can you do?", "Who are you?")
SAMPLE = 4.0                                                            # seconds by which codes a second are counted
VOICE = 25                                                              # dB below the loudest; breath is softer
BEFORE = 0.3                                                            # seconds of the answer that are heard first


@dataclass(frozen=True)
class Interruption:
    """Milliseconds from the user's first voiced sound to the last of the answer, and of the answer heard and kept.

    stop_ms: from the first sound within VOICE of the loudest; from_first_sound_ms: within BELOW, which is what latency
    and turns are measured by and takes in breath and hiss
    guessed_ms: what the server kept by its own clock; kept_ms: once the client had told what it played
    """

    stop_ms: float
    from_first_sound_ms: float
    heard_ms: float
    guessed_ms: float
    kept_ms: float


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Interrupt spoken answers with held-out recordings, and measure when they fall silent."
    parser.epilog = "example:\n  omni bench barge-in --data runs/tiny/data --json"
    add_flags(parser, "runs/bench/barge-in")
    parser.add_argument("--turns", type=int, default=200, help="answers to interrupt (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and write every interruption."""
    said = questions(args.data, args.turns, seed=2)
    with asked_server(args) as url:
        found, short = asyncio.run(_all(url, args.key, said))
    report = figures(found, short)
    write_json(args.out / "turns.json", {"turns": [asdict(each) for each in found]})
    print(report.table())
    print(f"every turn: {args.out / 'turns.json'}")
    if args.json:
        print(report.json())


def figures(found: Sequence[Interruption], short: int) -> Report:
    """short: answers that were over before they could be interrupted."""
    report, n = Report("bench barge-in"), len(found)
    for name, values in (
        ("stop_ms", [each.stop_ms for each in found]),
        ("stop_from_first_sound_ms", [each.from_first_sound_ms for each in found]),
    ):
        for share in (50, 95):
            value = float(np.percentile(values, share)) if values else None
            report.add(f"{name}_p{share}", value, "ms", n=n)
    for name, kept in (
        ("kept_beyond_heard_ms_max", [each.kept_ms - each.heard_ms for each in found]),
        ("guessed_beyond_heard_ms_max", [each.guessed_ms - each.heard_ms for each in found]),
    ):
        report.add(name, max(kept) if kept else None, "ms", n=n)
    report.add("over_before", short, "answers", n=n + short)
    return report


async def _all(url: str, key: str, said: Sequence[Question]) -> tuple[list[Interruption], int]:
    found, short, random = [], 0, np.random.default_rng(0)
    for question in progress(said, "interruptions", unit="turn"):
        async with connected(url, key) as client:
            for asked in ASKED:                                         # until one is answered at length
                one = await interrupted(client, asked, question, random)
                if one is not None:
                    found.append(one)
                    break
                short += 1
    return found, short


async def interrupted(
    client: Client, asked: str, question: Question, random: np.random.Generator
) -> Interruption | None:
    """Ask, listen a while, speak; None when the answer was over before. The client stops playing when it is told."""
    mark, since = len(client.sound), len(client.events)
    content = [{"type": "input_text", "text": asked}]
    await client.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    await client.send("response.create")
    listening = asyncio.create_task(client.speak(room(60, random)))     # the microphone is open meanwhile
    await client.until("response.done", since)
    sound = client.sound[mark:]
    length = sum(len(arrival.wave) for arrival in sound) / RATE
    first, sounds = (first_voiced(question.wave, below) / RATE for below in (VOICE, BELOW))
    if not sound or length < BEFORE + first + 0.6:
        listening.cancel()
        await settle(client)
        return None
    whole, a_second = await codes(client), await codes(client, SAMPLE) / SAMPLE
    start = playback(sound)[0][0]
    await asyncio.sleep(max(0.0, start + BEFORE - time.monotonic()))
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    since = len(client.events)
    begun = time.monotonic()
    speaking = asyncio.create_task(client.speak(np.concatenate((question.wave, room(0.5, random))), begun))
    told, _ = await client.until("input_audio_buffer.speech_started", since)
    stopped = min(told, start + length)
    speaking.cancel()                                                   # so that no turn ends meanwhile
    await asyncio.gather(speaking, return_exceptions=True)
    item = sound[0].item
    heard = int((stopped - start) * 1000)
    guessed = await codes(client)
    await client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=heard)
    await client.until("conversation.item.truncated", since)
    kept = await codes(client)
    if stopped < told:
        await settle(client)
        return None                                                     # it ended by itself while the user began
    return Interruption(
        round((stopped - begun - first) * 1000, 1), round((stopped - begun - sounds) * 1000, 1), heard,
        *(round((length - (whole - left) / a_second) * 1000, 1) for left in (guessed, kept)),
    )  # fmt: skip


async def codes(client: Client, seconds: float | None = None) -> int:
    """How many audio codes the model is given: of the conversation as it is, or of so many seconds of silence.

    An answer out of band tells, in its bill. So it is the model's own past that is looked at, not the client's word.
    """
    since = len(client.events)
    asked: dict[str, object] = {"conversation": "none", "output_modalities": ["text"], "max_output_tokens": 1}
    if seconds is not None:
        audio = to_base64(np.zeros(int(seconds * RATE), np.float32), "audio/pcm")
        content = [{"type": "input_audio", "audio": audio}]
        asked["input"] = [{"type": "message", "role": "user", "content": content}]
    await client.send("response.create", response=asked)
    _, done = await client.until("response.done", since)
    return int(done["response"]["usage"]["input_token_details"]["audio_tokens"])
