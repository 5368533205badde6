"""What is wanted of the assistant: a segment, how it is drawn, and the room that it takes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from omni import layout
from omni.decode.heard import Ear, Heard
from omni.decode.payload import longest, payload
from omni.decode.samplers import Sampler
from omni.decode.sentences import Sentences
from omni.decode.spoken import Spoken
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, first_channel
from omni.vocab import Vocabulary

LEAST = 16                                                              # text tokens or audio frames that must fit


class TooLongError(InputError):
    """What is asked is more than the model's past has room for."""


@dataclass(frozen=True)
class Want:
    """A segment that the assistant is to give: text of at most `limit` tokens, audio of `limit` frames, or an image.

    sampler: how it is drawn, where not as the rest of the answer; verbatim: a text is what is heard, written down and
    not answered: letter by letter, as models whose speech is spelt are taught it (omni.spelling), otherwise as any
    text; ear: what it is then held to, as speech is to the text that it says (omni.decode.spoken); sentences: by
    which it is said, if it is a text whose speech is wanted next, or speech of a text that was heard
    """

    modality: str
    language: str | None = None
    voice: str | None = None
    limit: int = 256
    sampler: Sampler | None = None
    verbatim: bool = False
    ear: Ear | None = None
    sentences: Sentences | None = None

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
        return first_channel(np.array(self._empty.header(vocab, before, letters)), vocab)

    def closing(self, vocab: Vocabulary) -> np.ndarray:
        """Its closing token: [1, channels]."""
        return controls(vocab, f"</{self.modality}>")

    def segment(self, said: Iterable[np.ndarray], vocab: Vocabulary) -> Segment:
        """The segment whose payload is these steps [channels]."""
        steps = stacked(said, vocab)
        codes = layout.from_steps(steps, vocab) if self.modality == "audio" else vocab[self.modality].codes(steps[:, 0])
        return Segment(self.modality, codes, "assistant", self.language, self.voice)

    def least(self, vocab: Vocabulary) -> int:
        """Steps that must be free for this segment."""
        return len(self.opening(vocab)) + longest(vocab, self.modality, min(self.limit, LEAST))

    def most(self, vocab: Vocabulary) -> int:
        """Steps that this segment can take, as fast as people speak."""
        letters = self.limit if vocab.spelling is not None and self.modality == "audio" else 0
        return len(self.opening(vocab)) + letters + longest(vocab, self.modality, self.limit)


def check_room(steps: int, wants: Sequence[Want], model: OmniTransformer, vocab: Vocabulary) -> None:
    """Raise TooLongError unless a prompt of `steps` leaves room for the least of what is wanted."""
    least, limit = sum(want.least(vocab) for want in wants), model.config.max_steps
    if steps + least > limit:
        wanted = ", ".join(want.modality for want in wants)
        raise TooLongError(
            f"the prompt takes {steps} of the model's {limit} steps and an answer of {wanted} at least {least};"
            " shorten the text, the audio or the video, or ask for less"
        )


def fitting(want: Want, vocab: Vocabulary, room: int) -> int:
    """The largest limit, at most the wanted one, whose payload and closing token fit into `room` steps."""
    limit = max(0, min(want.limit, room))                               # no unit is shorter than a step
    while limit > 0 and longest(vocab, want.modality, limit) > room:
        limit -= 1
    return limit


def payload_of(
    stream: Stream, vocab: Vocabulary, want: Want, sampler: Sampler, generator: Generator | None, limit: int,
    before: Sequence[Segment | None],
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """The payload of a want, drawn as it says, of at most `limit` units, after the segment that each row ends in."""
    barred, held_to = want.barred(vocab, stream.model.table.device), want.spoken(before, vocab) or want.heard(before)
    return payload(stream, vocab, want.modality, want.sampler or sampler, generator, limit, barred, held_to)


def stacked(steps: Iterable[np.ndarray], vocab: Vocabulary) -> np.ndarray:
    return np.array(list(steps), np.int64).reshape(-1, vocab.channels)


def controls(vocab: Vocabulary, *names: str) -> np.ndarray:
    """Control tokens: [names, channels]."""
    return first_channel(np.array([vocab.control(name) for name in names]), vocab)
