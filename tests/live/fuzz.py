"""`make fuzz`: ten thousand wrong events, slow readers, disconnects at every state, a killed model; the door stays up.

    python tests/live/fuzz.py [--events 10000] [--sessions 1000] [--connections 200] [--seed 0] [--caller DIR]
"""

import argparse
import asyncio
import os
import subprocess
import sys

from fuzzing.client import FoundError
from fuzzing.crowd import apart, churn, many, slow
from fuzzing.death import killed
from fuzzing.states import STATES, calling, leave
from fuzzing.wrong import events, frames
from voice import read_aloud

from omni.eval.live.serving import server
from omni.live.hearing.pcm import Wave

CROWD = 16                                                              # sessions that a server holds


<<<<<<< HEAD
def wrong(draw: random.Random) -> str:
    """An event that is malformed, of wrong types, huge, rubbish or out of place; now and then a right one."""
    kind = draw.choice([*KINDS, "nothing", "", "response.audio.delta"])
    event: dict[str, Any] = {"type": kind, "event_id": draw.choice(["a", 7, None, "x" * 2000])}
    for name in draw.sample(
        ["audio", "item", "item_id", "response", "session", "content_index", "audio_end_ms", "previous_item_id"], 4
    ):
        event[name] = value(draw, 0)
    match draw.randrange(10):
        case 0:
            return draw.choice(["", "{", "null", "7", '"x"', "[" * 5000, '{"type":', "\u0000", "{}", '{"type": []}'])
        case 1:
            return json.dumps(event)[: draw.randrange(1, 60)]
        case 2:
            return json.dumps({"type": "input_audio_buffer.append", "audio": "A" * draw.choice([3, 4, 10**6])})
        case 3:
            sound = draw.choice(["@@", "AAA=", SOUND, SOUND[:-2]])
            return json.dumps({"type": "input_audio_buffer.append", "audio": sound})
        case 4:
            return json.dumps({"type": "conversation.item.create", "item": {**TEXT, "content": value(draw, 0)}})
        case 5:
            return json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": value(draw, 0)}})
        case 6:
            return json.dumps({"type": draw.choice(list(KINDS))})
    return json.dumps(event)


def value(draw: random.Random, depth: int) -> Any:
    if depth < 3 and draw.random() < 0.4:
        names = ["type", "input", "output", "format", "voice", "text", "content", "turn_detection", "role", "rate"]
        return draw.choice([
            {name: value(draw, depth + 1) for name in draw.sample(names, 3)},
            [value(draw, depth + 1) for _ in range(3)],
        ])  # fmt: skip
    return draw.choice([None, True, -1, 10**30, 1e308, "", "x", "\ud800", "\u202e", "message", "user", SOUND, [], {}])


async def events(url: str, count: int, seed: int) -> None:
    """Every wrong event is answered, and the session goes on."""
    draw, sent = random.Random(seed), 0
    while sent < count:
        async with connect(url, max_size=None, compression=None, proxy=None) as socket:
            reading = asyncio.create_task(drain(socket))
            for _ in range(min(200, count - sent)):
                await socket.send(wrong(draw))
                sent += 1
                await asyncio.sleep(0.004)                              # below the door's rate
            await asked(socket, reading)


async def asked(socket: ClientConnection, reading: "asyncio.Task[list[str]]") -> None:
    """The session still answers."""
    await socket.send(json.dumps({"type": "conversation.item.delete", "item_id": "the last"}))
    for _ in range(1200):                                               # a minute: what came before is heard first
        await asyncio.sleep(0.05)
        if "the last" in "".join(SEEN[-50:]):
            break
    else:
        raise SystemExit("fuzz: a session no longer answers")
    SEEN.clear()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


SEEN: list[str] = []


async def drain(socket: ClientConnection) -> list[str]:
    async for message in socket:
        SEEN.append(str(message)[:400])
        del SEEN[:-500]
    return SEEN


async def leave_at(url: str, state: str) -> None:
    """Go away without a word once a state is reached."""
    socket = await connect(url, compression=None, proxy=None)
    await socket.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
    if state == "speech":
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": SOUND}))
    elif state.startswith("response"):
        await socket.send(json.dumps({"type": "conversation.item.create", "item": TEXT}))
        await socket.send(json.dumps({"type": "response.create"}))
    async with asyncio.timeout(60):
        while state != "speech" and json.loads(await socket.recv())["type"] != state:
            pass
    socket.transport.abort()


async def many(url: str, count: int) -> tuple[int, int]:
    """So many connections at once: (served, refused with a reason)."""

    async def one() -> bool:
        try:
            async with asyncio.timeout(60), connect(url, compression=None, proxy=None, open_timeout=50) as socket:
                first = json.loads(await socket.recv())
                if first["type"] == "error":
                    assert first["error"]["code"] == "server_full", first
                    return False
                await asyncio.sleep(1)
                return True
        except ConnectionClosed:
            return False

    served = await asyncio.gather(*(one() for _ in range(count)))
    return sum(served), count - sum(served)


async def slow(url: str) -> float:
    """A client that asks for long answers and never reads them is shut out. Returns seconds until it is."""
    socket = await connect(url, compression=None, proxy=None, max_queue=1)
    item = {"type": "function_call_output", "call_id": "c", "output": "long " * 20_000, "id": "long"}
    await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
    socket.transport.pause_reading()
    began = time.monotonic()
    for _ in range(300):                                                # 30 MiB of answers
        await socket.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "long"}))
        await asyncio.sleep(0.006)
    while await asyncio.to_thread(sessions_open, url):
        if time.monotonic() - began > 60:
            raise SystemExit("fuzz: a reader that never reads is not shut out")
        await asyncio.sleep(0.1)
    socket.transport.abort()
    return time.monotonic() - began


def sessions_open(url: str) -> float:
    """How many sessions the server says it has."""
    address = url.replace("ws://", "http://").replace("/v1/realtime", "/metrics")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=20) as answer:
        found = re.search(r"^omni_sessions (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def killed(url: str, door: int) -> float:
    """kill -9 of the model: the session is told, the door stays, a new model answers. Returns seconds until it does."""
    async with connect(url, compression=None, proxy=None) as socket:
        await socket.recv()
        (model,) = children(door)
        os.kill(model, signal.SIGKILL)
        told = []
        try:
            async with asyncio.timeout(20):
                async for message in socket:
                    told.append(json.loads(message))
        except ConnectionClosed:
            pass
        if not any(event["type"] == "error" and event["error"]["code"] == "model_died" for event in told):
            raise SystemExit("fuzz: a session was not told that its model died")
    began = time.monotonic()
    while time.monotonic() - began < 120:
        async with connect(url, compression=None, proxy=None) as socket:
            if json.loads(await socket.recv())["type"] == "session.created":
                return time.monotonic() - began
        await asyncio.sleep(0.5)
    raise SystemExit("fuzz: the model did not return")


async def churn(url: str, door: int, sessions: int) -> tuple[float, float]:
    """Memory of door and model, in MiB, after the first of so many sessions and after all of them.

    The first are a tenth or ten: before that the model's process has not yet been as large as it gets. Sessions that
    have just ended may take a busy machine some time.
    """
    early = 0.0
    for number in range(sessions):
        async with connect(url, compression=None, proxy=None) as socket:
            await socket.recv()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": SOUND}))
        if number == max(10, sessions // 10):
            early = memory(door)
    for _ in range(30):
        await asyncio.sleep(1)
        if not grown(early, memory(door)):
            break
    return early, memory(door)


def grown(early: float, late: float) -> bool:
    """Whether that is more than what allocators keep."""
    return late > early * 1.1 + 20


def children(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid), "-f", "model.process"], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


def memory(door: int) -> float:
    """Resident MiB of the door and its models."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (door, *children(door)))
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


async def run(url: str, door: int, args: argparse.Namespace) -> None:
=======
async def run(url: str, door: int, voice: Wave, args: argparse.Namespace) -> None:
>>>>>>> wt-fuzz
    await events(url, args.events, args.seed)
    say(f"{args.events} wrong events: every session answered to its end, no fault of the server")
    await frames(url)
    say("messages beyond 16 MiB: close code 1009, and others go on")
    states = (*STATES, calling) if args.caller else STATES
    await leave(url, voice, states)
    say(f"disconnected at {', '.join(reach.__name__ for reach in states)}: nothing is kept")
    say(f"a reader that never reads: shut out after {await slow(url):.1f} s")
    served, refused = await many(url, args.connections)
    say(f"{args.connections} connections at once: {served} served, {refused} refused with a reason")
    await apart(url, min(CROWD, args.connections // 4))
    say("sessions at once: none sees, touches or is billed for another's")
    early, late, answered = await churn(url, door, args.sessions, voice)
    say(f"{args.sessions} sessions, {answered} answered: {early:.0f} MiB after the first, {late:.0f} after all")
    say(f"kill -9 of the model: told in every state, and back after {await killed(url, door, voice):.1f} s")
    await events(url, min(200, args.events), args.seed + 1)
    say("and it answers")


def say(words: str) -> None:
    print(words, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--caller", help="model of tests/live/clients/calls/teach.py: a call of its own is a state too")
    args = parser.parse_args()
    voice = read_aloud()
    if voice is None:
        sys.exit("fuzz: no flite and no espeak-ng here to speak with; install one")
    with server(None, args.caller, "--sessions", str(CROWD)) as url:
        (door,) = [int(pid) for pid in subprocess.run(
            ["pgrep", "-P", str(os.getpid()), "-f", "omni.cli serve"], capture_output=True, text=True, check=True
        ).stdout.split()]  # fmt: skip
        try:
            asyncio.run(run(url, door, voice, args))
        except* FoundError as found:
            sys.exit(f"fuzz: {first(found)}")
    say("fuzz: passed")


def first(error: BaseException) -> BaseException:
    """What stands in groups within groups."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    main()
