"""From a prompt to the assistant's answer, segment by segment."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor

from omni import layout
from omni.decode.heard import Ear, Heard, last_sound
from omni.decode.payload import longest, payload
from omni.decode.samplers import Sampler
from omni.decode.spoken import Spoken
from omni.decode.stream import Stream
from omni.decode.together import Step
from omni.errors import InputError
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt
from omni.vocab import Vocabulary

LEAST = 16                                                              # text tokens or audio frames that must fit
BATCH_ROWS = 16
DRAWN_ROWS = 64                                                         # answers to one conversation, side by side


class TooLongError(InputError):
    """What is asked is more than the model's past has room for."""


@dataclass(frozen=True)
class Want:
    """A segment that the assistant is to give: text of at most `limit` tokens, audio of `limit` frames, or an image.

    sampler: how it is drawn, where not as the rest of the answer; verbatim: a text is what is heard, written down and
    not answered: letter by letter, as models whose speech is spelt are taught it (omni.spelling), otherwise as any
    text; ear: what it is then held to, as speech is to the text that it says (omni.decode.spoken)
    """

    modality: str
    language: str | None = None
    voice: str | None = None
    limit: int = 256
    sampler: Sampler | None = None
    verbatim: bool = False
    ear: Ear | None = None

    def barred(self, vocab: Vocabulary, device: torch.device) -> Tensor | None:
        """Codes that it is not made of, [codes] bool; None where it may be made of all."""
        if not self.verbatim or vocab.spelling is None or self.modality != "text":
            return None
        return torch.from_numpy(vocab.spelling.longer).to(device)

    def heard(self, before: Sequence[Segment | None]) -> list[Heard] | None:
        """What is written down of the segments that rows end in; None where nothing is."""
        if not self.verbatim or self.ear is None:
            return None
        sounds = [segment for segment in before if segment is not None and segment.modality == "audio"]
        return [self.ear.hear(sound, self.language) for sound in sounds] if len(sounds) == len(before) else None

    def spoken(self, before: Sequence[Segment | None], vocab: Vocabulary) -> list[Spoken | None] | None:
        """What is said of the texts that rows end in, None of those with letters that no code has, or for all."""
        if self.modality != "audio" or self.ear is None:
            return None
        letters = [self._empty.to_say(vocab, segment) for segment in before]
        rows = [self.ear.say(vocab["text"].codes(np.array(ids))) if ids else None for ids in letters]
        return rows if any(row is not None for row in rows) else None

    @property
    def _empty(self) -> Segment:
        """Before anything of it is drawn."""
        return Segment(self.modality, np.zeros(0, np.int64), "assistant", self.language, self.voice)

    def opening(self, vocab: Vocabulary, before: Segment | None = None, room: int | None = None) -> np.ndarray:
        """Its tags, the letters that it is to say (omni.sequence) and its opening token: [steps, channels].

        before: the segment that it follows; room: steps that there are for it and its payload, half of which letters
        may take (there are fewer than two in a frame). Raises InputError for an unknown language or voice.
        """
        letters = 2 * self.limit
        if room is not None:
            letters = max(0, min(letters, (room - self.least(vocab)) // 2))
        header = self._empty.header(vocab, before, letters)
        steps = np.full((len(header), vocab.channels), vocab.control("<pad>"), np.int64)
        steps[:, 0] = header
        return steps

    def segment(self, said: Iterable[np.ndarray], vocab: Vocabulary) -> Segment:
        """The segment whose payload is these steps [channels]."""
        steps = _stacked(said, vocab)
        codes = layout.from_steps(steps, vocab) if self.modality == "audio" else vocab[self.modality].codes(steps[:, 0])
        return Segment(self.modality, codes, "assistant", self.language, self.voice)

    def least(self, vocab: Vocabulary) -> int:
        """Steps that must be free for this segment."""
        return len(self.opening(vocab)) + longest(vocab, self.modality, min(self.limit, LEAST))

    def most(self, vocab: Vocabulary) -> int:
        """Steps that this segment can take, as fast as people speak."""
        letters = self.limit if vocab.spelling is not None and self.modality == "audio" else 0
        return len(self.opening(vocab)) + letters + longest(vocab, self.modality, self.limit)


@dataclass(frozen=True)
class Drawn:
    """A payload while it is drawn: its steps [channels], how many units it has at most where it is not whole, and
    those that were drawn so far.
    """

    limit: int
    steps: Iterator[np.ndarray]
    said: list[np.ndarray] = field(default_factory=list)

    def __iter__(self) -> Iterator[np.ndarray]:
        for step in self.steps:
            self.said.append(step)
            yield step


def begin(
    model: OmniTransformer,
    vocab: Vocabulary,
    segments: Sequence[Segment],
    wants: Sequence[Want],
    step: Step | None = None,
    room: int | None = None,
) -> Stream:
    """A stream that has heard the conversation so far. Raises InputError when no room is left for what is wanted.

    room: for how many steps more it has buffers (all that the model has room for)
    """
    ids = prompt(segments, vocab)
    check_room(len(ids), wants, model, vocab)
    most = model.config.max_steps
    stream = Stream(model, max_steps=most if room is None else min(most, len(ids) + room), step=step)
    stream.feed(ids[None])
    return stream


def say(
    stream: Stream,
    vocab: Vocabulary,
    wants: Sequence[Want],
    sampler: Sampler,
    generator: Generator | None = None,
    before: Segment | None = None,
) -> Iterator[Drawn]:
    """The answer of one conversation, want by want: the steps [channels] of its payload, each as soon as it is drawn.

    Take a payload to its end before the next one. A segment is cut where the model's room for steps ends. Afterwards
    the stream has heard the closed segments too. before: the last segment that the stream has heard
    """
    for number, want in enumerate(wants):
        later = sum(later.least(vocab) for later in wants[number + 1 :])
        stream.feed(want.opening(vocab, before, stream.room - later)[None])
        limit = _fitting(want, vocab, stream.room - later)
        steps = _payload(stream, vocab, want, sampler, generator, limit, [before])
        yield (drawn := Drawn(limit, (ids[0].cpu().numpy() for _, ids in steps)))
        before = want.segment(drawn.said, vocab)


def answer(
    stream: Stream,
    vocab: Vocabulary,
    wants: Sequence[Want],
    sampler: Sampler,
    generator: Generator | None = None,
    before: Segment | None = None,
) -> list[Segment]:
    """The whole answer of one conversation. before: the last segment that the stream has heard"""
    said = say(stream, vocab, wants, sampler, generator, before)
    return [want.segment(steps, vocab) for want, steps in zip(wants, said, strict=True)]


def generate_batch(
    model: OmniTransformer,
    vocab: Vocabulary,
    conversations: Sequence[Sequence[Segment]],
    wants: Sequence[Want],
    sampler: Sampler,
    generator: Generator | None = None,
) -> list[list[Segment]]:
    """The answers to many conversations, `BATCH_ROWS` at a time in order of length.

    Raises InputError when a conversation leaves no room for what is wanted.
    """
    prompts = [prompt(segments, vocab) for segments in conversations]
    for ids in prompts:
        check_room(len(ids), wants, model, vocab)
    answers: list[list[Segment]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    if model.config.prefix and len(wants) > 1:                          # a later prompt must not make an answer visible
        for index in order:
            stream = begin(model, vocab, conversations[index], wants)
            answers[index] = answer(stream, vocab, wants, sampler, generator, last_sound(conversations[index]))
        return answers
    for start in range(0, len(order), BATCH_ROWS):
        rows = order[start : start + BATCH_ROWS]
        said, before = [prompts[index] for index in rows], [last_sound(conversations[index]) for index in rows]
        for number, want in enumerate(wants):
            later = sum(want.least(vocab) for want in wants[number + 1 :])
            said, before = _extended(model, vocab, said, before, want, later, sampler, generator)
            for index, segment in zip(rows, before, strict=True):
                answers[index].append(segment)
    return answers


def draw_many(
    model: OmniTransformer,
    vocab: Vocabulary,
    segments: Sequence[Segment],
    want: Want,
    draws: int,
    sampler: Sampler,
    generator: Generator | None = None,
) -> list[Segment]:
    """Many answers of one segment to the same conversation, which is heard once: [draws].

    Raises InputError when the conversation leaves no room for what is wanted.
    """
    ids = prompt(segments, vocab)
    check_room(len(ids), [want], model, vocab)
    opening = want.opening(vocab, segments[-1], model.config.max_steps - len(ids))
    limit = _fitting(want, vocab, model.config.max_steps - len(ids) - len(opening))
    room = len(opening) + longest(vocab, want.modality, limit)
    said: list[list[np.ndarray]] = [[] for _ in range(draws)]
    for start in range(0, draws, DRAWN_ROWS):
        rows = min(DRAWN_ROWS, draws - start)
        stream = Stream(model, max_steps=len(ids) + room)
        stream.feed(np.concatenate((ids, opening))[None])
        stream.state()                                                  # closes a visible prefix
        stream.keep(torch.zeros(rows, dtype=torch.long, device=model.table.device))
        for numbers, step in _payload(stream, vocab, want, sampler, generator, limit, [last_sound(segments)] * rows):
            for number, one in zip(numbers.tolist(), step.cpu().numpy(), strict=True):
                said[start + number].append(one)
    return [want.segment(steps, vocab) for steps in said]


def _extended(
    model: OmniTransformer,
    vocab: Vocabulary,
    said: Sequence[np.ndarray],
    before: Sequence[Segment],
    want: Want,
    later: int,
    sampler: Sampler,
    generator: Generator | None,
) -> tuple[list[np.ndarray], list[Segment]]:
    """Let every row, which ends in the segment `before`, say one more: the longer prompts, and the segments."""
    most = model.config.max_steps - later
    openings = [want.opening(vocab, last, most - len(ids)) for ids, last in zip(said, before, strict=True)]
    said = [np.concatenate(pair) for pair in zip(said, openings, strict=True)]
    room = model.config.max_steps - max(map(len, said))
    limit = _fitting(want, vocab, room - later)
    stream = Stream.of_prompts(model, said, min(room, longest(vocab, want.modality, limit)))
    steps: list[list[np.ndarray]] = [[] for _ in said]
    for numbers, ids in _payload(stream, vocab, want, sampler, generator, limit, before):
        for number, step in zip(numbers.tolist(), ids.cpu().numpy(), strict=True):
            steps[number].append(step)
    closing = np.full((1, vocab.channels), vocab.control("<pad>"), np.int64)
    closing[0, 0] = vocab.control(f"</{want.modality}>")
    longer = [np.concatenate((ids, _stacked(row, vocab), closing)) for ids, row in zip(said, steps, strict=True)]
    return longer, [want.segment(row, vocab) for row in steps]


def _payload(
    stream: Stream, vocab: Vocabulary, want: Want, sampler: Sampler, generator: Generator | None, limit: int,
    before: Sequence[Segment | None],
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """The payload of a want, drawn as it says, of at most `limit` units, after the segment that each row ends in."""
    barred, held_to = want.barred(vocab, stream.model.table.device), want.spoken(before, vocab) or want.heard(before)
    return payload(stream, vocab, want.modality, want.sampler or sampler, generator, limit, barred, held_to)


def check_room(steps: int, wants: Sequence[Want], model: OmniTransformer, vocab: Vocabulary) -> None:
    """Raise TooLongError unless a prompt of `steps` leaves room for the least of what is wanted."""
    least, limit = sum(want.least(vocab) for want in wants), model.config.max_steps
    if steps + least > limit:
        wanted = ", ".join(want.modality for want in wants)
        raise TooLongError(
            f"the prompt takes {steps} of the model's {limit} steps and an answer of {wanted} at least {least};"
            " shorten the text, the audio or the video, or ask for less"
        )


def _fitting(want: Want, vocab: Vocabulary, room: int) -> int:
    """The largest limit, at most the wanted one, whose payload and closing token fit into `room` steps."""
    limit = max(0, min(want.limit, room))                               # no unit is shorter than a step
    while limit > 0 and longest(vocab, want.modality, limit) > room:
        limit -= 1
    return limit


def _stacked(steps: Iterable[np.ndarray], vocab: Vocabulary) -> np.ndarray:
    return np.array(list(steps), np.int64).reshape(-1, vocab.channels)
