"""An answer while it is being said: steps of the stream become text, sound and pictures as soon as they are certain."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from omni import layout
from omni.decode.samplers import Sampler
from omni.decode.say import say
from omni.decode.stream import Stream
from omni.decode.want import Want
from omni.sequence import Segment
from omni.tokenizers.image.pixels import to_levels
from omni.vocab import Vocabulary

if TYPE_CHECKING:
    from omni.tokenizers.bundle import Tokenizers

UNSURE = "\ufffd"                                                       # a letter whose last bytes are still to come
FRAMES = 4                                                              # of sound that are decoded at once, in the end


@dataclass(frozen=True)
class Piece:
    """Part of an answer that is still being said: some text, or some samples, or the picture; codes: that it took.

    An empty one, where they were asked for, says nothing: others may go first.
    """

    text: str | None = None
    audio: NDArray[np.float32] | None = None
    image: NDArray[np.uint8] | None = None
    codes: int = 0

    @property
    def empty(self) -> bool:
        return self.text is None and self.audio is None and self.image is None

    @property
    def modality(self) -> str:
        if self.text is not None:
            return "text"
        if self.audio is not None:
            return "audio"
        return "image" if self.image is not None else ""


def tell(
    stream: Stream,
    wants: Sequence[Want],
    tokenizers: "Tokenizers",
    vocab: Vocabulary,
    sampler: Sampler,
    generator: torch.Generator,
    told: list[Segment],
    before: Segment,
    cut: set[str] | None = None,
    most: int | None = None,
) -> Generator[Piece, None, None]:
    """Say the answer piece by piece. `told` gets its segments, the last one cut after the last piece that was taken.

    So who closes the iterator half way, or is interrupted anywhere, finds in `told` what was handed over and no more.
    before: the last segment that the stream has heard; cut: gets the modalities of those that ended because there may
    be no more, or no room is left; most: steps that are computed at once, before more of which an empty piece comes
    """
    readers, first = [_reader(want.modality, tokenizers, vocab) for want in wants], len(told)
    for part in say(stream, vocab, wants, sampler, generator, before):
        reader, want, at, given, whole = readers[part.number], part.want, first + part.number, 0, False
        if most is not None and stream.behind > most:
            yield Piece()
        try:
            for step in part:
                for piece in reader.push(step):
                    given = len(part.said)
                    yield piece
            given, whole = len(part.said), True
            if not part.more:
                yield from reader.finish()
        finally:
            if given or whole:                                          # nothing given is nothing said
                told[at : at + 1] = [part.segment(given)]
            ended = whole and not part.more and want.modality != "image"
            if cut is not None and ended and len(told[at].codes) >= part.limit:
                cut.add(want.modality)


class _Reader(Protocol):
    """Turns the steps [channels] of one payload into pieces."""

    def push(self, step: NDArray[np.int64]) -> Iterator[Piece]:
        """What became certain with this step."""
        ...

    def finish(self) -> Iterator[Piece]:
        """What is left when the payload has ended; the steps of one that goes on all the same come after those."""
        ...


def _reader(modality: str, tokenizers: "Tokenizers", vocab: Vocabulary) -> _Reader:
    readers: dict[str, type[_TextReader | _SoundReader | _PictureReader]] = {
        "text": _TextReader, "audio": _SoundReader, "image": _PictureReader,
    }  # fmt: skip
    return readers[modality](tokenizers, vocab)


class _TextReader:
    """Text by the letter: one is given once all of its bytes are there."""

    def __init__(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> None:
        assert tokenizers.text is not None
        self.tokenizer, self.span = tokenizers.text, vocab["text"]
        self.codes: list[int] = []
        self.given, self.counted = "", 0                                   # letters and codes of the pieces so far

    def push(self, step: NDArray[np.int64]) -> Iterator[Piece]:
        self.codes.append(int(step[0]) - self.span.start)
        return self._new(self.tokenizer.decode(self.codes).rstrip(UNSURE))

    def finish(self) -> Iterator[Piece]:
        """The rest, broken letters included."""
        return self._new(self.tokenizer.decode(self.codes))

    def _new(self, text: str) -> Iterator[Piece]:
        new, self.given = text[len(self.given) :], text
        if new:
            count, self.counted = len(self.codes) - self.counted, len(self.codes)
            yield Piece(text=new, codes=count)


class _SoundReader:
    """Sound by the codec's frame, soon by several: the first are waited for, and four at once cost what one does."""

    def __init__(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> None:
        assert tokenizers.audio is not None
        self.codec, self.vocab = tokenizers.audio, vocab
        self.state = self.codec.start(1)
        self.steps: list[NDArray[np.int64]] = []
        self.lag = vocab.codebooks - 1 if vocab.layout == "delay" else 0  # steps that the frame after them needs, too
        self.each = vocab.codebooks if vocab.layout == "flat" else 1    # steps of a frame
        self.given = 0                                                  # frames

    def push(self, step: NDArray[np.int64]) -> Iterator[Piece]:
        self.steps.append(step)
        if len(self.steps) >= self.lag + self.each * min(FRAMES, 1 + self.given // FRAMES):
            yield self._new()

    def finish(self) -> Iterator[Piece]:
        """The last frames."""
        if len(self.steps) >= self.lag + self.each:
            yield self._new()
        self.steps = []

    def _new(self) -> Piece:
        codes = layout.from_steps(np.stack(self.steps), self.vocab)     # [frames, codebooks]
        self.steps = self.steps[len(self.steps) - self.lag :]
        self.given += len(codes)
        samples, self.state = self.codec.decode_stream(torch.from_numpy(codes)[None], self.state)
        return Piece(audio=samples[0].cpu().numpy(), codes=codes.size)


class _PictureReader:
    """The picture, once all of its codes are there."""

    def __init__(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> None:
        assert tokenizers.image is not None
        self.tokenizer, self.vocab = tokenizers.image, vocab
        self.codes: list[int] = []

    def push(self, step: NDArray[np.int64]) -> Iterator[Piece]:
        self.codes.append(int(step[0]) - self.vocab["image"].start)
        if len(self.codes) == self.vocab.picture_tokens:
            levels = to_levels(self.tokenizer.decode(torch.tensor([self.codes]))[0])
            yield Piece(image=levels, codes=len(self.codes))

    def finish(self) -> Iterator[Piece]:
        return iter(())
