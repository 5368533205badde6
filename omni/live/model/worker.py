"""Hears, answers and transcribes for many conversations of one model, the most urgent one first."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch

from omni.decode.pieces import Piece
from omni.decode.pipeline import Pipeline
from omni.decode.stream import Stream, catch_up
from omni.decode.want import TooLongError
from omni.errors import InputError
from omni.live.engine import messages
from omni.live.model.ending import Ending
from omni.live.model.memory import FullMemoryError, Memory
from omni.live.model.orders import Doing, Orders
from omni.live.model.talk import PIECE, Speech, Talk
from omni.live.model.writing import Writing

log = logging.getLogger("omni.live")
NEW = 0.05                                                              # seconds that an answer before its sound leads
SPARE, LATER = 0.25, 1e3                                                # by which all lead before one reads or writes
HELD = 3                                                                # frames of an answer's first sound


@dataclass
class Job:
    """Something that is made step by step for a conversation."""

    talk: str
    step: Callable[[], bool]                                            # whether there is more
    urgency: Callable[[], float]                                        # the smaller the sooner
    answer: str | None = None                                           # the answer that it makes
    stream: Callable[[], Stream | None] = lambda: None                  # whose next step can be taken with others'
    queue: object = None                                                # of jobs with the same one, the first only
    turn: int = 0                                                       # when it was stepped last


@dataclass
class Worker:
    """All conversations of a process. `take` what the door says, `work` a step; `tell` hands back what comes of it."""

    pipeline: Pipeline
    tell: Callable[[messages.Told], None]
    ending: Ending | None = None
    talks: dict[str, Talk] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    memory: int | None = None                                           # bytes for all pasts, as in Memory
    _turns: int = 0                                                     # steps that were taken
    _orders: dict[str, Orders] = field(default_factory=dict)            # by conversation

    def __post_init__(self) -> None:
        self._memory = Memory(self.pipeline, self._streams, self.memory)

    @property
    def busy(self) -> bool:
        return bool(self.jobs)

    @property
    def waiting(self) -> int:
        """Bytes that it has taken and not come to yet."""
        return sum(orders.size for orders in self._orders.values())

    @torch.inference_mode()
    def take(self, message: messages.Told) -> None:
        """Do what the door says, of each conversation in order; what takes long goes on as a job, while others are
        answered. What cannot be done is told as `Failed`; a conversation that is closed is no error.
        """
        name = message.talk
        if isinstance(message, messages.Open):
            self.talks[name] = talk = Talk(self.pipeline, self._memory, self.ending)
            self._orders[name] = Orders(partial(self._do, talk), self._refused)
        if name not in self.talks:
            return
        if isinstance(message, messages.Close):
            self._close(name)
            return
        orders = self._orders[name]
        waits = orders.waiting
        if isinstance(message, messages.Stop):                          # nothing more is said, whatever is done first
            orders.forget(message.answer)
            self.jobs = [job for job in self.jobs if (job.talk, job.answer) != (name, message.answer)]
        orders.add(message)
        if not waits and orders.go_on():
            self.jobs.append(Job(name, orders.go_on, lambda: SPARE))

    def _do(self, talk: Talk, message: messages.Told) -> Doing:
        match message:
            case messages.Instruct():
                yield from talk.instruct(message.system)
            case messages.Hear():
                talk.hear(message.samples)
            case messages.Judge():
                self.tell(messages.Judged(message.talk, message.number, talk.judge()))
            case messages.Answer():
                yield from self._answer(talk, message)
            case messages.Keep():
                talk.keep(message.answer)
            case messages.Stop():
                talk.drop(message.answer)
                self._stop(talk, message.talk, message.answer)
            case messages.Commit():
                talk.commit(message.item)
            case messages.Unhear():
                talk.unhear()
            case messages.Put():
                yield from talk.put(message.item, message.parts, message.after)
            case messages.Delete():
                talk.delete(message.item)
            case messages.Truncate():
                talk.truncate(message.item, message.seconds)
            case messages.Transcribe():
                writing, lead = talk.transcription(message.item, message.language), SPARE if message.soon else LATER
                step, queue = partial(self._write, message, writing, []), (message.talk, lead)
                self.jobs.append(Job(message.talk, step, lambda: lead, None, lambda: writing.stream, queue))

    def _refused(self, message: messages.Told, error: Exception) -> None:
        """It could not be done, which concerns this conversation and no other."""
        item = message.item if isinstance(message, messages.Put | messages.Commit) else None
        self._failed(message.talk, error, getattr(message, "answer", None), item)

    def _close(self, name: str) -> None:
        self.talks.pop(name).stop()
        del self._orders[name]
        self.jobs = [job for job in self.jobs if job.talk != name]

    @torch.inference_mode()
    def work(self) -> None:
        """One step of the most urgent job: a letter or two, a frame of sound, or a piece of a long past before it.

        Of equally urgent ones the one that waits longest is next, so that all of them have drawn a token when the first
        needs its next state, and one pass over the weights makes those of all.
        """
        job = min(self._next(), key=lambda job: (job.urgency(), job.turn))
        stream = job.stream()
        if stream is None or stream.behind:
            catch_up(self._streams(), PIECE, stream)
        if stream is not None and stream.behind:
            return
        self._turns += 1
        job.turn = self._turns
        try:
            more = job.step()
        except Exception as error:
            self._failed(job.talk, error, job.answer)
            more = False
        if not more and job in self.jobs:
            self.jobs.remove(job)

    def _next(self) -> Iterator[Job]:
        """Jobs that can be stepped: of a queue the first."""
        queues = set[object]()
        for job in self.jobs:
            if job.queue is None or job.queue not in queues:
                yield job
            queues.add(job.queue)

    @property
    def late(self) -> bool:
        """Whether something that was heard or said is still to be computed."""
        return any(stream.behind for stream in self._streams())

    def catch_up(self) -> None:
        """Compute what all conversations have heard and said, in one go; of a long past, one at a time, a piece."""
        catch_up(self._streams(), PIECE)

    def _streams(self) -> Iterable[Stream]:
        heard = (talk.past for talk in self.talks.values())
        return {id(one): one for one in (*heard, *(job.stream() for job in self.jobs)) if one is not None}.values()

    def _answer(self, talk: Talk, order: messages.Answer) -> Doing:
        if talk.speech is not None and order.item is not None:          # whoever asks again stops what was being said
            self._stop(talk, order.talk, talk.speech.answer)
        speech = yield from talk.answer(order)
        self.tell(messages.Began(order.talk, order.answer, speech.heard))
        step = partial(self._say, order.talk, talk, speech)
        lead = NEW if "audio" in order.ask.want else SPARE             # as what is read is, so that they take turns
        self.jobs.append(Job(order.talk, step, partial(_lead, speech, lead), order.answer, lambda: speech.stream))

    def _stop(self, talk: Talk, name: str, answer: str) -> None:
        self.jobs = [job for job in self.jobs if (job.talk, job.answer) != (name, answer)]
        if talk.speech is not None and talk.speech.answer == answer:
            talk.stop()

    def _failed(self, name: str, error: Exception, answer: str | None, item: str | None = None) -> None:
        if answer is not None:
            self._stop(self.talks[name], name, answer)
        kinds = not isinstance(error, InputError), isinstance(error, FullMemoryError), isinstance(error, TooLongError)
        self.tell(messages.Failed(name, _reason(error), answer, item, *kinds))

    def _say(self, name: str, talk: Talk, speech: Speech) -> bool:
        piece = next(speech.pieces, None)
        if piece is not None and piece.empty:
            return True
        if piece is not None and piece.audio is not None and self._holds_back(speech):
            speech.held.append(piece)
            return True
        for one in speech.held if piece is None else (*speech.held, piece):
            self._count(speech, one)
            self.tell(messages.Said(name, speech.answer, one.text, one.audio, one.image, one.codes))
        speech.held = []
        if piece is None:
            said = {segment.modality: int(segment.codes.size) for segment in speech.said}
            kept = talk.finished(speech)
            self.tell(messages.Ended(name, speech.answer, speech.heard, said, bool(speech.cut), kept))
            return False
        return True

    def _holds_back(self, speech: Speech) -> bool:
        """Whether the first sound waits for more: where others are answered too, or may be soon, that may come late."""
        return not speech.began and len(speech.held) < HELD and len(self.talks) > 1

    def _count(self, speech: Speech, piece: Piece) -> None:
        codec = self.pipeline.tokenizers.audio
        if piece.text is not None:
            speech.written += piece.codes
        if piece.audio is not None:
            speech.sounded = speech.written
        if piece.audio is not None and codec is not None:
            speech.began = speech.began or time.monotonic()
            speech.seconds += len(piece.audio) / codec.sample_rate

    def _write(self, order: messages.Transcribe, writing: Writing, text: list[str]) -> bool:
        letter, failed, full = None, None, False
        try:
            letter = next(writing.letters, None)
        except Exception as error:
            failed, full = _reason(error), isinstance(error, FullMemoryError)
        if letter is None:
            whole = "".join(text), writing.heard, len(text)
            self.tell(messages.Transcribed(order.talk, order.item, *whole, failed, full))
            return False
        if letter:
            text.append(letter)
            self.tell(messages.Wrote(order.talk, order.item, letter))
        return True


def _reason(error: Exception) -> str:
    """What is told of it; a fault of ours is logged too. Raises it again where it leaves the process unfit for all."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ConnectionError | torch.AcceleratorError):     # the door is gone, or the device
        raise error
    log.error("the model failed in a conversation", exc_info=error)
    return f"the model failed at it ({type(error).__name__}); its log tells more"


def _lead(speech: Speech, before: float) -> float:
    """Seconds of sound that the listener still has before the next is missed; `before` any was given, and no more than
    NEW while the next sentence is written, since it is not known how long that takes.
    """
    if not speech.began:
        return before
    left = speech.seconds - (time.monotonic() - speech.began)
    return min(left, NEW) if speech.written > speech.sounded else left
