"""`make fuzz`: ten thousand wrong events, slow readers, disconnects at every state, a killed model; the door stays up.

    python tests/live/fuzz.py [--events 10000] [--sessions 1000] [--connections 200] [--seed 0] [--caller DIR]
"""

import argparse
import asyncio
import os
import sys

from fuzzing.client import FoundError, children
from fuzzing.crowd import apart, churn, many, slow
from fuzzing.death import killed
from fuzzing.states import STATES, calling, leave
from fuzzing.wrong import events, frames
from voice import read_aloud

from omni.eval.live.serving import server
from omni.live.hearing.pcm import Wave

CROWD = 16                                                              # sessions that a server holds


async def run(url: str, door: int, voice: Wave, args: argparse.Namespace) -> None:
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
        (door,) = children(os.getpid(), "omni.cli serve")
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
