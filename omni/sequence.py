"""A conversation as one stream of ids: the type that training, serving and evaluation share.

    <bos> { <role> { [<2xx>] [<voice:v>] <modality> payload </modality> }+ <turn> }+ <eos>

The language and voice tags and the opening token say what the following payload is to be: they are conditions,
set by whoever asks, so they carry no loss. Payloads, closing tokens and `<turn>` of the assistant do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from omni import layout
from omni.vocab import MODALITIES, ROLES, Vocabulary


@dataclass(frozen=True, eq=False)
class Segment:
    """One modality said by one role.

    codes: text [tokens] | audio [frames, codebooks] | image [picture_tokens] | video [frames, picture_tokens]
    """

    modality: str
    codes: np.ndarray
    role: str = "user"
    language: str | None = None
    voice: str | None = None

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"unknown modality {self.modality!r}; use one of {', '.join(MODALITIES)}")
        if self.role not in ROLES:
            raise ValueError(f"unknown role {self.role!r}; use one of {', '.join(ROLES)}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segment):
            return NotImplemented
        ours = (self.modality, self.role, self.language, self.voice)
        theirs = (other.modality, other.role, other.language, other.voice)
        return ours == theirs and np.array_equal(self.codes, other.codes)

    def header(self, vocab: Vocabulary) -> list[int]:
        """Ids of the tags and the opening token."""
        tags = [f"<2{self.language}>"] if self.language else []
        tags += [f"<voice:{self.voice}>"] if self.voice else []
        return [vocab.control(name) for name in (*tags, f"<{self.modality}>")]

    def payload(self, vocab: Vocabulary) -> np.ndarray:
        """Ids of the content, [steps, channels]. Raises ValueError for codes out of range or of the wrong shape."""
        self._check_shape(vocab)
        if self.modality == "audio":
            return layout.to_steps(self.codes, vocab)
        if self.modality == "video":
            times = np.array([[vocab.control(f"<t{frame}>")] for frame in range(len(self.codes))])
            frames = vocab["image"].ids(self.codes.astype(np.int64))    # [frames, picture_tokens]
            return _first_channel(np.concatenate((times, frames), axis=1).reshape(-1), vocab)
        return _first_channel(vocab[self.modality].ids(self.codes.astype(np.int64)), vocab)

    def laid(self, vocab: Vocabulary) -> np.ndarray:
        """All of its ids, tags and closing token included: [steps, channels]. Raises ValueError as `payload` does."""
        opening, closing = self.header(vocab), [vocab.control(f"</{self.modality}>")]
        ends = [_first_channel(np.array(ids), vocab) for ids in (opening, closing)]
        return np.concatenate((ends[0], self.payload(vocab), ends[1]))

    def _check_shape(self, vocab: Vocabulary) -> None:
        tail = {"text": (), "audio": (vocab.codebooks,), "image": (), "video": (vocab.picture_tokens,)}[self.modality]
        if self.codes.shape[1:] != tail or self.codes.ndim != 1 + len(tail):
            raise ValueError(f"{self.modality} codes must have shape [n, *{tail}], got {self.codes.shape}")
        if self.modality == "image" and len(self.codes) != vocab.picture_tokens:
            raise ValueError(f"a picture is {vocab.picture_tokens} codes, got {len(self.codes)}")
        if self.modality == "video" and not 0 < len(self.codes) <= vocab.frames:
            raise ValueError(f"a video is 1..{vocab.frames} frames, got {len(self.codes)}")


@dataclass(frozen=True)
class Sequence:
    """A laid-out conversation.

    ids:    [steps, channels] int64
    loss:   [steps] bool, whether predicting this step is trained
    prefix: number of leading steps, the whole prompt before the assistant's first payload, that may see each other
    """

    ids: np.ndarray
    loss: np.ndarray
    prefix: int

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, segments: Iterable[Segment], vocab: Vocabulary, trained: Iterable[str] = ("assistant",)) -> "Sequence":
        """Lay segments out; segments of one role in a row form a turn. `trained` names the roles that carry loss."""
        writer = _Writer(vocab, frozenset(trained))
        writer.control("<bos>")
        role: str | None = None
        for segment in segments:
            if segment.role != role:
                if role is not None:
                    writer.control("<turn>", loss=role in writer.trained)
                writer.control(f"<{segment.role}>")
                role = segment.role
            writer.segment(segment)
        if role is None:
            raise ValueError("a sequence needs at least one segment")
        writer.control("<turn>", loss=role in writer.trained)
        writer.control("<eos>")
        return writer.finish()

    def segments(self, vocab: Vocabulary) -> list[Segment]:
        """The inverse of `of`. Raises ValueError for a stream that is not a well-formed conversation."""
        return parse(self.ids, vocab)


def prompt(segments: Iterable[Segment], vocab: Vocabulary) -> np.ndarray:
    """Ids [steps, channels] of a conversation that the assistant is to go on with: ends in `<assistant>`."""
    ids = Sequence.of(segments, vocab).ids[:-1]                         # without <eos>
    return np.concatenate((ids, _first_channel(np.array([vocab.control("<assistant>")]), vocab)))


def parse(ids: np.ndarray, vocab: Vocabulary) -> list[Segment]:
    """Segments of a stream [steps, channels]. Raises ValueError where it is not well-formed."""
    return _Reader(ids, vocab).conversation()


def _first_channel(ids: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    """Ids [steps] on the first channel, `<pad>` on the others: [steps, channels]."""
    steps = np.full((len(ids), vocab.channels), vocab.control("<pad>"), dtype=np.int64)
    steps[:, 0] = ids
    return steps


@dataclass
class _Writer:
    vocab: Vocabulary
    trained: frozenset[str]
    ids: list[np.ndarray] = field(default_factory=list)
    loss: list[np.ndarray] = field(default_factory=list)
    marks: list[tuple[int, bool]] = field(default_factory=list)         # control tokens and their loss, not yet in ids
    length: int = 0
    prefix: int | None = None

    def put(self, steps: np.ndarray, loss: bool) -> None:
        self._settle()
        self.ids.append(steps)
        self.loss.append(np.full(len(steps), loss))
        self.length += len(steps)

    def control(self, name: str, loss: bool = False) -> None:
        self.marks.append((self.vocab.control(name), loss))
        self.length += 1

    def segment(self, segment: Segment) -> None:
        header = segment.header(self.vocab)
        self.marks += [(token, False) for token in header]
        self.length += len(header)
        if self.prefix is None and segment.role == "assistant":
            self.prefix = self.length
        loss = segment.role in self.trained
        self.put(segment.payload(self.vocab), loss)
        self.control(f"</{segment.modality}>", loss)

    def _settle(self) -> None:
        """Control tokens in a row become one array: an array each is most of the work of a short conversation."""
        if self.marks:
            ids, loss = map(np.array, zip(*self.marks, strict=True))
            self.ids.append(_first_channel(ids, self.vocab))
            self.loss.append(loss)
            self.marks = []

    def finish(self) -> Sequence:
        self._settle()
        prefix = self.length if self.prefix is None else self.prefix
        loss = np.concatenate(self.loss)
        if loss[:prefix].any():                                         # a step that is predicted must not be seen
            prefix = 0
        return Sequence(np.concatenate(self.ids), loss, prefix)


class _Reader:
    """Recursive descent over the grammar at the head of this file."""

    def __init__(self, ids: np.ndarray, vocab: Vocabulary) -> None:
        self.ids, self.vocab, self.at = ids, vocab, 0

    def name(self) -> str:
        """Name of the control token at the cursor, or '' for a payload id or the end."""
        if self.at >= len(self.ids):
            return ""
        token = int(self.ids[self.at, 0])
        return self.vocab.controls[token] if 0 <= token < self.vocab["control"].size else ""

    def take(self, expected: str) -> None:
        if self.name() != expected:
            found = self.name() or ("the end" if self.at >= len(self.ids) else f"id {int(self.ids[self.at, 0])}")
            raise ValueError(f"step {self.at}: expected {expected}, found {found}")
        self.at += 1

    def conversation(self) -> list[Segment]:
        segments: list[Segment] = []
        self.take("<bos>")
        while self.name() != "<eos>":
            role = self.name()[1:-1]
            if role not in ROLES:
                raise ValueError(f"step {self.at}: expected a role, found {self.name() or 'a payload id'}")
            self.at += 1
            while self.name() != "<turn>":
                segments.append(self.segment(role))
            self.at += 1
        self.take("<eos>")
        if self.at != len(self.ids):
            raise ValueError(f"{len(self.ids) - self.at} steps after <eos>")
        return segments

    def segment(self, role: str) -> Segment:
        language = self.tag("<2", ">")
        voice = self.tag("<voice:", ">")
        modality = self.name()[1:-1]
        if modality not in MODALITIES:
            raise ValueError(f"step {self.at}: expected an opening token, found {self.name() or 'a payload id'}")
        self.at += 1
        start, closing = self.at, self.vocab.control(f"</{modality}>")
        ends = np.flatnonzero(self.ids[start:, 0] == closing)
        if not len(ends):
            raise ValueError(f"step {start}: <{modality}> is never closed")
        self.at = start + int(ends[0]) + 1
        return Segment(modality, self.codes(modality, self.ids[start : self.at - 1]), role, language, voice)

    def tag(self, opening: str, closing: str) -> str | None:
        name = self.name()
        if not name.startswith(opening):
            return None
        self.at += 1
        return name[len(opening) : -len(closing)]

    def codes(self, modality: str, steps: np.ndarray) -> np.ndarray:
        if modality == "audio":
            return layout.from_steps(steps, self.vocab)
        if modality != "video":
            return self.vocab[modality].codes(steps[:, 0])
        frame = 1 + self.vocab.picture_tokens
        if len(steps) % frame:
            raise ValueError(f"{len(steps)} video steps are not whole frames of {frame}")
        return self.vocab["image"].codes(steps[:, 0].reshape(-1, frame)[:, 1:])
