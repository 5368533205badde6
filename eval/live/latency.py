"""`omni bench latency`: from the end of what a person says to the first audible sound of the answer."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from omni.errors import InputError
from omni.eval.live.client import RATE, Arrival, Client, connected, first_audible, playback, room, settle
from omni.eval.live.recordings import Question, of_lengths, questions
from omni.eval.live.serving import add_flags, asked_server
from omni.eval.live.summary import add_delay, add_false_starts
from omni.eval.statistics import bootstrap
from omni.figures import Report
from omni.files import write_json
from omni.progress import progress

LETTERS = "response.output_audio_transcript.delta"
LEAD = 0.4                                                              # seconds of silence before the user speaks
PATIENCE = 6.0                                                          # seconds of silence after it
A_SESSION = 5                                                           # turns in one session
LENGTHS, MOST_PAIRS = (1.0, 20.0), 20                                    # seconds; questions said at both lengths
LONG, ENDS = 60, 10                                                     # turns of a long conversation; of either end


@dataclass(frozen=True)
class Turn:
    """One turn, in milliseconds; latency None when no audible answer came.

    detection: until the server said that the turn has ended; token: from there to the first letters of the answer;
    codec: from them to the first sound that came, the rest of a sentence and the first frame; leading: its silence.
    false_start: something was answered before the user had ended
    """

    name: str
    seconds: float
    pause: float
    latency: float | None
    detection: float | None
    token: float | None
    codec: float | None
    leading: float | None
    false_start: bool


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say held-out recordings of people to a live server in real time, and measure its answers."
    parser.epilog = "example:\n  omni bench latency --data runs/tiny/data --turns 200 --json"
    add_flags(parser, "runs/bench/latency")
    parser.add_argument("--turns", type=int, default=200, help="recordings to say (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and write every turn."""
    said = questions(args.data, args.turns)
    pairs = max(1, min(MOST_PAIRS, args.turns // 4))
    lengths = of_lengths(said, LENGTHS, pairs)
    turns, effect, long = list[Turn](), list[Turn](), list[Turn]()
    try:
        with asked_server(args) as url:
            asyncio.run(_all(url, args.key, said, "turns", turns))
            asyncio.run(_all(url, args.key, lengths, "lengths", effect))
            asyncio.run(_all(url, args.key, at_length(said), "one conversation", long, one=True))
    except (InputError, KeyboardInterrupt):
        if turns:                                                       # minutes of them, perhaps
            _tell(figures(turns, effect[: len(effect) // 2 * 2]), (*turns, *effect, *long), args.out)
        raise
    report = figures(turns, effect, long)
    _tell(report, (*turns, *effect, *long), args.out)
    if args.json:
        print(report.json())


def _tell(report: Report, turns: Sequence[Turn], out: Path) -> None:
    write_json(out / "turns.json", {"turns": [asdict(turn) for turn in turns]})
    print(report.table())
    print(f"every turn: {out / 'turns.json'}")


def at_length(said: Sequence[Question]) -> list[Question]:
    """What is said in one long conversation, which ends with the questions with which it began."""
    ends = min(ENDS, len(said))
    return [*said[: max(ends, LONG - ends)], *said[:ends]]


def figures(turns: Sequence[Turn], effect: Sequence[Turn], long: Sequence[Turn] = ()) -> Report:
    """The table. effect: turns of the two lengths in turn; long: those of one conversation, see `at_length`."""
    report, answered = Report("bench latency"), [turn.latency for turn in turns if turn.latency is not None]
    values = np.array(answered or [np.nan])
    low, high = bootstrap(answered)
    report.add("min_ms", float(values.min()), "ms", n=len(answered))
    report.add("mean_ms", float(values.mean()), "ms", low=low, high=high, n=len(answered))
    for name, share in (("p50_ms", 50), ("p95_ms", 95), ("max_ms", 100)):
        report.add(name, float(np.percentile(values, share)), "ms", n=len(answered))
    add_false_starts(report, turns)
    report.add("unanswered", sum(turn.latency is None for turn in turns), "turns", n=len(turns))
    for part in ("detection", "token", "codec", "leading"):
        found = [value for turn in turns if (value := getattr(turn, part)) is not None]
        report.add(f"{part}_ms", float(np.mean(found)) if found else None, "ms", n=len(found))
    either = [turn.latency for turn in effect]
    add_delay(report, "length_effect_ms", either[::2], either[1::2])
    ends, all_of_one = min(ENDS, len(long) // 2), [turn.latency for turn in long]
    add_delay(report, "conversation_effect_ms", all_of_one[:ends], all_of_one[len(long) - ends :])
    return report


async def _all(
    url: str, key: str, said: Sequence[Question], label: str, turns: list[Turn], one: bool = False
) -> None:  # fmt: skip
    """turns: to which each is added; one: all in one conversation, whose answers are heard to their ends"""
    random = np.random.default_rng(0)
    size = len(said) if one else A_SESSION
    with progress(None, label, total=len(said), unit="turn") as bar:
        for start in range(0, len(said), size):
            async with connected(url, key) as client:
                for question in said[start : start + size]:
                    turns.append(await one_turn(client, question, random, whole=one))
                    bar.update(1)


async def one_turn(client: Client, question: Question, random: np.random.Generator, whole: bool = False) -> Turn:
    """Say one question and listen until its answer is audible; then stop it, unless the `whole` of it is heard."""
    mark, since = len(client.sound), len(client.events)
    wave = np.concatenate((room(LEAD, random), question.wave, room(PATIENCE, random)))
    wave[int(LEAD * RATE) :][: len(question.wave)] += room(question.seconds + 1, random)[: len(question.wave)]
    start = time.monotonic()
    speaking = asyncio.create_task(client.speak(wave, start))
    end = start + LEAD + question.seconds                               # t0, on the schedule that `speak` keeps
    heard, last = None, list[Arrival]()
    while not speaking.done():
        client.news.clear()
        waiting = asyncio.create_task(client.news.wait())
        await asyncio.wait({speaking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        last = [arrival for arrival in client.sound[mark:] if arrival.item == _last_item(client, since)]
        heard = first_audible(last)
        if heard is not None and heard >= end - 0.001 and last[0].at >= end:
            break
    if whole and last:
        await _heard_out(client, last[0].item, mark, since)
    speaking.cancel()
    await asyncio.gather(speaking, return_exceptions=True)
    turn = _turn(client, question, end, heard, mark, since)
    await settle(client)
    return turn


async def _heard_out(client: Client, item: str, mark: int, since: int) -> None:
    """Until all of an answer was made and played. Raises InputError where the server falls silent before."""
    begun = sum(event["type"] == "response.created" for _, event in client.events[since:])
    while sum(event["type"] == "response.done" for _, event in client.events[since:]) < begun:
        client.news.clear()
        try:
            await asyncio.wait_for(client.news.wait(), PATIENCE)
        except TimeoutError:
            raise InputError(f"no response.done of an answer came, and nothing else within {PATIENCE:g} s") from None
    sound = [arrival for arrival in client.sound[mark:] if arrival.item == item]
    end = playback(sound)[0][-1] + len(sound[-1].wave) / RATE
    await asyncio.sleep(max(0.0, end - time.monotonic()))


def _last_item(client: Client, since: int) -> str | None:
    items = [event["item"]["id"] for _, event in client.events[since:] if event["type"] == "response.output_item.added"]
    return items[-1] if items else None


def _turn(client: Client, question: Question, end: float, heard: float | None, mark: int, since: int) -> Turn:
    news = client.events[since:]
    begun = [at for at, event in news if event["type"] == "response.created"]
    false_start = any(at < end for at in begun)
    stopped = [at for at, event in news if event["type"] == "input_audio_buffer.speech_stopped"]
    item = _last_item(client, since)
    came = next((arrival.at for arrival in client.sound[mark:] if arrival.item == item), None)
    wrote = next((at for at, event in news if event["type"] == LETTERS and event["item_id"] == item), came)

    def ms(value: float | None) -> float | None:
        return None if value is None else round(value * 1000, 2)

    return Turn(
        question.name, question.seconds, question.pause,
        latency=ms(None if heard is None else heard - end),
        detection=ms(stopped[-1] - end if stopped else None),
        token=ms(wrote - stopped[-1] if wrote is not None and stopped else None),
        codec=ms(came - wrote if came is not None and wrote is not None else None),
        leading=ms(heard - came if heard is not None and came is not None else None),
        false_start=false_start,
    )  # fmt: skip
