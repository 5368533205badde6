"""`omni bench turns`: when held-out recordings of people are held to have ended, without a server.

Turn detection is that of `omni serve`, sound by sound, and so is what the model's head says in every pause; what is
left out is the wire, the pace of real time and the answer's own time.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.eval.live.client import RATE as CLIENT_RATE
from omni.eval.live.client import room
from omni.eval.live.latency import LEAD, LENGTHS, PATIENCE
from omni.eval.live.recordings import Question, of_lengths, questions
from omni.eval.live.summary import PAUSE, add_delay, add_false_starts, add_mean
from omni.figures import Report
from omni.files import write_json
from omni.live.hearing.pcm import HOP, RATE, Resampler, Wave
from omni.live.hearing.turns import EAGERNESS, Rules, Turns
from omni.live.model.listening import Listening
from omni.progress import progress
from omni.tokenizers.audio.codec import AudioCodec

SPLITS = ("valid", "test")
MOST_PAIRS = 40                                                         # questions said at both lengths
Judge = Callable[[NDArray[np.int64]], float | None]                     # of codes [frames, codebooks] that were heard


@dataclass(frozen=True)
class Ended:
    """One recording.

    pause: seconds of its longest inner silence; delay_ms: from its last voiced sample to the end of the turn, None
    where none came; false_start: whether one came before
    """

    name: str
    pause: float
    delay_ms: float | None
    false_start: bool


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Find the ends of held-out recordings of people as a live session does, offline."
    parser.epilog = "example:\n  omni bench turns --data runs/tiny/data --json"
    parser.add_argument("--data", type=Path, required=True, help="folder of `omni data prepare`")
    parser.add_argument("--model", type=Path, help="model folder with a head (default: the model that ships)")
    parser.add_argument("--turns", type=int, help="recordings, in a random order (default: all of both splits)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/turns"), help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure, print the table and write every turn."""
    from omni.decode.pipeline import Pipeline
    from omni.live.model.ending import Ending
    from omni.shipped import shipped_model

    folder = args.model or shipped_model()
    pipeline, head = Pipeline.load(folder), Ending.load(folder)
    codec = pipeline.tokenizers.audio
    if head is None or codec is None:
        raise InputError(f"{folder}: no head for ends of turns; run `omni train ending --model {folder}`")
    said, random = questions(args.data, args.turns, splits=SPLITS), np.random.default_rng(0)
    lengths = of_lengths(said, LENGTHS, min(MOST_PAIRS, len(said)))
    found = [
        one_turn(question, codec, lambda codes: head.judged(pipeline, codes), random)
        for question in progress([*said, *lengths], "listening", unit="turn")
    ]
    report = figures(found[: len(said)], found[len(said) :])
    write_json(args.out / "turns.json", {"turns": [asdict(turn) for turn in found]})
    print(report.table())
    print(f"every turn: {args.out / 'turns.json'}")
    if args.json:
        print(report.json())


def one_turn(question: Question, codec: AudioCodec, judge: Judge, random: np.random.Generator) -> Ended:
    """Listen to a recording in a quiet room until it has ended."""
    wave, end = _in_a_room(question, random)
    patience, longest = EAGERNESS["auto"]
    turns = Turns(Rules(patience=patience, longest_ms=longest))
    listening, fed, free, false_start = Listening(codec, len(wave)), 0, 0, False  # free: where the last turn ended
    to_model = Resampler(RATE, codec.sample_rate)
    for stop in range(HOP, len(wave) + 1, HOP):
        for change in turns.hear(wave[stop - HOP : stop]):
            if change.kind == "started":
                listening, to_model = Listening(codec, len(wave)), Resampler(RATE, codec.sample_rate)
                fed = max(free, change.at - turns.rules.prefix_ms * RATE // 1000)
            elif change.kind == "paused":
                listening.hear(to_model(wave[fed:stop]))
                fed, turns.ended = stop, judge(listening.codes) if turns.doubtful else None
            elif change.kind == "ended":
                if stop > end:
                    return Ended(question.name, question.pause, 1000 * (stop - end) / RATE, false_start)
                false_start, free = True, change.at
    return Ended(question.name, question.pause, None, false_start)


def _in_a_room(question: Question, random: np.random.Generator) -> tuple[Wave, int]:
    """The recording as the session's microphone has it, at 16 kHz, and where it ends."""
    noise = room(LEAD + question.seconds + PATIENCE, random)
    noise[int(LEAD * CLIENT_RATE) :][: len(question.wave)] += question.wave
    resampler = Resampler(CLIENT_RATE, RATE)
    heard = np.concatenate((resampler(noise), resampler.finish()))
    return heard, int((LEAD + question.seconds) * RATE)


def figures(found: Sequence[Ended], effect: Sequence[Ended]) -> Report:
    """The table, of all recordings and of those with a pause. effect: those of the two lengths in turn."""
    report = Report("bench turns")
    for suffix, least in (("", 0.0), ("_with_pauses", PAUSE)):
        group = [turn.delay_ms for turn in found if turn.pause >= least and turn.delay_ms is not None]
        add_mean(report, f"delay_ms{suffix}", group)
    add_false_starts(report, found)
    delays = [turn.delay_ms for turn in found if turn.delay_ms is not None]
    report.add("p95_ms", float(np.percentile(delays, 95)) if delays else None, "ms", n=len(delays))
    either = [turn.delay_ms for turn in effect]
    add_delay(report, "length_effect_ms", either[::2], either[1::2])
    report.add("unended", sum(turn.delay_ms is None for turn in found), "turns", n=len(found))
    return report

