"""How many conversations a model holds in real time here: measured, before anybody is let in."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omni.decode.parts import Text
from omni.decode.pipeline import Pipeline
from omni.decode.together import Together
from omni.errors import InputError
from omni.live.engine import messages
from omni.live.model.ending import Ending
from omni.live.model.worker import Worker

SPOKEN = 0.6                                                            # of real time; the rest is for hearing
MOST = 16                                                               # conversations: four times what is measured
COUNT, SECONDS, TRIES = 4, 0.4, 2                                       # measured at once; of sound; the better counts
TEXT = "One, two, three, four, five, six."


@dataclass(frozen=True)
class Pace:
    """Shares of real time that a process takes: for one conversation in which it speaks, and for each further one."""

    alone: float
    further: float

    @property
    def room(self) -> int:
        """Conversations in which it can speak at once without a gap."""
        return max(1, min(MOST, 1 + int((SPOKEN - self.alone) / self.further)))


def warm(pipeline: Pipeline, ending: Ending | None = None) -> None:
    """Hear, judge and say something once, so that nobody waits for what is only slow the first time.

    Raises InputError for a model that cannot do it here.
    """
    told: list[messages.Told] = []
    if isinstance(pipeline.step, Together):
        pipeline.step.ready()
    worker = Worker(pipeline, told.append, ending)
    ask = messages.Ask(("text", "audio"), {"max_tokens": 4, "max_seconds": 0.4})
    worker.take(messages.Open("warm"))
    for _ in range(10):
        worker.take(messages.Hear("warm", np.zeros(1600, np.float32)))
    worker.take(messages.Judge("warm", 1))
    worker.take(messages.Answer("warm", "warm", ask, "warm", draft="heard"))
    while worker.busy:
        worker.work()
    _refuse_failures(told, "the model cannot be served here")


def measured(pipeline: Pipeline) -> Pace:
    """The pace of a warm model. Raises InputError for one that does not speak."""
    alone, together = (min(_share(pipeline, count) for _ in range(TRIES)) for count in (1, COUNT))
    return Pace(alone, max((together - alone) / (COUNT - 1), SPOKEN / (4 * MOST)))


def _share(pipeline: Pipeline, count: int) -> float:
    """Of real time, for so many conversations: from when all have begun to speak until all have ended.

    On a CPU it is the processor's time, so that what else the machine does at the start does not decide for good.
    """
    clock = time.thread_time if pipeline.model.table.device.type == "cpu" else time.perf_counter
    told: list[messages.Told] = []
    worker = Worker(pipeline, told.append, memory=sys.maxsize)          # nobody else has a past yet
    for number, name in enumerate(map(str, range(count))):
        ask = messages.Ask(("audio",), {"max_seconds": SECONDS, "seed": number})
        worker.take(messages.Open(name))
        worker.take(messages.Answer(name, name, ask, None, None, (Text(TEXT),)))
    while worker.busy and len({said.talk for said in _sounds(told)}) < count:
        worker.work()
    before, begun = _length(told), clock()
    while worker.busy:
        worker.work()
    _refuse_failures(told, "the model's pace cannot be measured")       # a failure is no quick answer
    codec = pipeline.tokenizers.audio
    assert codec is not None
    samples = max(_length(told) - before, codec.samples_per_frame)      # of one that falls silent at once, too
    return count * (clock() - begun) * codec.sample_rate / samples


def _refuse_failures(told: Sequence[messages.Told], what: str) -> None:
    """Raise InputError where something asked for was not done."""
    for failed in (one for one in told if isinstance(one, messages.Failed)):
        raise InputError(f"{what}: {failed.message}")


def _sounds(told: Sequence[messages.Told]) -> list[messages.Said]:
    return [one for one in told if isinstance(one, messages.Said) and one.audio is not None]


def _length(told: Sequence[messages.Told]) -> int:
    return sum(len(one.audio) for one in _sounds(told) if one.audio is not None)
