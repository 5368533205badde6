"""`omni bench sessions`: how many conversations at once the server holds in real time."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from omni.drawing import drawing
from omni.eval.live.client import RATE, Arrival, Client, connected, first_audible, playback, room
from omni.eval.live.recordings import Question, questions
from omni.eval.live.serving import add_flags, asked_server
from omni.figures import Report
from omni.files import write_json
from omni.progress import progress

COUNTS = (1, 2, 4, 6, 8, 12, 16)
LEAD = 0.3                                                              # seconds of silence before the user speaks
SILENCE = 3.0                                                           # seconds in which the answer is listened to
GAP = 0.005                                                             # seconds without sound that nobody hears


@dataclass(frozen=True)
class Level:
    """So many sessions at once: answers given, those with an audible gap, seconds of gaps, and latency in ms
    of those that have one, `timed` of them.
    """

    sessions: int
    answers: int
    gapped: int
    gap_seconds: float
    spoken_seconds: float
    p50_ms: float | None
    p95_ms: float | None
    timed: int


@dataclass(frozen=True)
class Answer:
    """Seconds of gaps in it and of its sound; latency in ms of the last of a turn, None of one that was stopped."""

    latency: float | None
    gaps: float
    spoken: float


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Hold more and more conversations at once, in real time, until answers have gaps."
    parser.epilog = "example:\n  omni bench sessions --data runs/tiny/data --json"
    add_flags(parser, "runs/bench/sessions")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="sessions (default: %(default)s)")
    parser.add_argument("--models", type=int, default=1, help="processes of the server (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=25.0, help="at each of them (default: %(default)g)")


def run(args: argparse.Namespace) -> None:
    """Measure level by level, print the table, write the curve."""
    said = questions(args.data, 40, seed=1)
    flags = ["--models", str(args.models), "--sessions", str(max(args.counts) + 1)]
    levels = []
    with asked_server(args, *flags) as url, progress(None, "levels", len(args.counts), "level") as bar:
        for count in sorted(args.counts):
            levels.append(asyncio.run(_level(url, args.key, said, count, args.seconds)))
            bar.update(1)
    report = figures(levels)
    write_json(args.out / "levels.json", {"levels": [asdict(level) for level in levels]})
    _plot(levels, args.out / "levels.png")
    print(f"{'sessions':>8} {'answers':>8} {'gapped':>7} {'p50 ms':>8} {'p95 ms':>8}")
    for level in levels:
        p50, p95 = level.p50_ms or float("nan"), level.p95_ms or float("nan")
        print(f"{level.sessions:>8} {level.answers:>8} {level.gapped:>7} {p50:>8.0f} {p95:>8.0f}")
    print(report.table())
    print(f"curve: {args.out / 'levels.png'}")
    if args.json:
        print(report.json())


def figures(levels: Sequence[Level]) -> Report:
    """The most sessions up to which no answer had an audible gap."""
    report, held = Report("bench sessions"), 0
    for level in levels:
        if level.gapped or not level.answers:
            break
        held = level.sessions
    report.add("realtime_sessions", held, "sessions", n=sum(level.answers for level in levels))
    for level in levels:
        report.add(f"p50_ms_at_{level.sessions}", level.p50_ms, "ms", n=level.timed)
        report.add(f"gaps_at_{level.sessions}", level.gapped, "answers", n=level.answers)
    return report


async def _level(url: str, key: str, said: Sequence[Question], count: int, seconds: float) -> Level:
    talks = [_talk(url, key, said, number, seconds) for number in range(count)]
    answers = [answer for found in await asyncio.gather(*talks) for answer in found]
    latencies = [answer.latency for answer in answers if answer.latency is not None]
    return Level(
        count, len(answers), sum(answer.gaps > GAP for answer in answers),
        round(sum(answer.gaps for answer in answers), 4), round(sum(answer.spoken for answer in answers), 2),
        float(np.percentile(latencies, 50)) if latencies else None,
        float(np.percentile(latencies, 95)) if latencies else None, len(latencies),
    )  # fmt: skip


async def _talk(url: str, key: str, said: Sequence[Question], number: int, seconds: float) -> list[Answer]:
    """All answers of one conversation."""
    random, answers = np.random.default_rng(number), []
    loop = asyncio.get_running_loop()
    async with connected(url, key) as client:
        await asyncio.sleep(random.uniform(0, 2))                       # not all at once
        end = loop.time() + seconds
        while loop.time() < end:
            answers += await one_turn(client, said[int(random.integers(len(said)))], random)
    return answers


async def one_turn(client: Client, question: Question, random: np.random.Generator) -> list[Answer]:
    """Say one question; all that was answered, those too that began before it was over and were stopped."""
    mark = len(client.sound)
    lead = room(LEAD, random)
    begun = await client.speak(np.concatenate((lead, question.wave, room(SILENCE, random))))
    by_item: dict[str, list[Arrival]] = {}
    for arrival in client.sound[mark:]:
        by_item.setdefault(arrival.item, []).append(arrival)
    answers = [Answer(None, playback(sound)[1], sum(len(each.wave) for each in sound) / RATE)
               for sound in by_item.values()]  # fmt: skip
    if answers:
        heard = first_audible(list(by_item.values())[-1])
        latency = None if heard is None else (heard - begun - LEAD - question.seconds) * 1000
        answers[-1] = replace(answers[-1], latency=latency)
    return answers


def _plot(levels: Sequence[Level], path: Path) -> None:
    shown = [level for level in levels if level.p50_ms is not None and level.p95_ms is not None]
    counts = [level.sessions for level in shown]
    with drawing(path, 7, 4) as figure:
        axis = figure.subplots()
        axis.plot(counts, [level.p50_ms or 0.0 for level in shown], "o-", label="latency, median")
        axis.plot(counts, [level.p95_ms or 0.0 for level in shown], "o--", label="latency, 95 %")
        axis.set_xlabel("conversations at once")
        axis.set_ylabel("ms from the end of speech to the first sound")
        other = axis.twinx()
        gapped = [100 * level.gapped / max(1, level.answers) for level in shown]
        other.bar(counts, gapped, 0.3, alpha=0.3, color="tab:red")
        other.set_ylabel("answers with an audible gap, %")
        other.set_ylim(0, 100)
        axis.legend(loc="upper left")
