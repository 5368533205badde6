"""A conversation as one stream of ids: the type that training, serving and evaluation share.

    <bos> { <role> { [<2xx>] [<voice:v>] [letters] <modality> payload </modality> [letters] }+ <turn> }+ <eos>

The language and voice tags and the opening token say what the following payload is to be: they are conditions,
set by whoever asks, so they carry no loss. Payloads, closing tokens and `<turn>` of the assistant do.

Where the codec has a codebook of words, speech is spelt beside its frames (omni.spelling): before what the assistant
says stand the letters of the text that it says, if that is the segment before; behind what it hears those that the
codes spell. They follow from the rest, so that nobody gives, predicts or is told them.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from omni import layout
from omni.vocab import MODALITIES, ROLES, Vocabulary


@dataclass(frozen=True, eq=False)
class Segment:
    """One modality said by one role.

    codes: text [tokens] | audio [frames, codebooks] | image [picture_tokens] | video [frames, picture_tokens]
    letters_alone: of what is heard that spells something, the stream has the letters, and not the frames
    """

    modality: str
    codes: np.ndarray
    role: str = "user"
    language: str | None = None
    voice: str | None = None
    letters_alone: bool = False

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"unknown modality {self.modality!r}; use one of {', '.join(MODALITIES)}")
        if self.role not in ROLES:
            raise ValueError(f"unknown role {self.role!r}; use one of {', '.join(ROLES)}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segment):
            return NotImplemented
        ours = (self.modality, self.role, self.language, self.voice, self.letters_alone)
        theirs = (other.modality, other.role, other.language, other.voice, other.letters_alone)
        return ours == theirs and np.array_equal(self.codes, other.codes)

    def header(self, vocab: Vocabulary, before: "Segment | None" = None, most: int | None = None) -> list[int]:
        """Ids of the tags, the letters and the opening token.

        before: the segment that it follows, if any; most: letters that there may be
        """
        tags = [f"<2{self.language}>"] if self.language else []
        tags += [f"<voice:{self.voice}>"] if self.voice else []
        return [*map(vocab.control, tags), *self.to_say(vocab, before)[:most], vocab.control(f"<{self.modality}>")]

    def to_say(self, vocab: Vocabulary, before: "Segment | None") -> list[int]:
        """Ids of the letters of what the assistant is to say."""
        said = self.modality == "audio" and self.role == "assistant"
        if vocab.spelling is None or not said or before is None or before.modality != "text" or before.role == "system":
            return []
        return vocab["text"].ids(vocab.spelling.spell(before.codes.tolist())).tolist()

    def heard(self, vocab: Vocabulary) -> np.ndarray:
        """Ids [letters] of what was heard, which stand behind the closing token."""
        if vocab.spelling is None or self.modality != "audio" or self.role == "assistant":
            return np.zeros(0, np.int64)
        return vocab["text"].ids(vocab.spelling.read(self.codes))

    def is_letters(self, vocab: Vocabulary) -> bool:
        """Whether the stream has its letters alone."""
        return self.letters_alone and len(self.heard(vocab)) > 0

    def payload(self, vocab: Vocabulary) -> np.ndarray:
        """Ids of the content, [steps, channels]. Raises ValueError for codes out of range or of the wrong shape."""
        return self._payload(vocab, self.is_letters(vocab))

    def _payload(self, vocab: Vocabulary, is_letters: bool) -> np.ndarray:
        self._check_shape(vocab)
        if self.modality == "audio":
            return _blank(0, vocab) if is_letters else layout.to_steps(self.codes, vocab)
        if self.modality == "video":
            times = np.array([[vocab.control(f"<t{frame}>")] for frame in range(len(self.codes))])
            frames = vocab["image"].ids(self.codes.astype(np.int64))    # [frames, picture_tokens]
            return first_channel(np.concatenate((times, frames), axis=1).reshape(-1), vocab)
        return first_channel(vocab[self.modality].ids(self.codes.astype(np.int64)), vocab)

    def laid(self, vocab: Vocabulary, before: "Segment | None" = None) -> np.ndarray:
        """All of its ids, tags, closing token and letters included: [steps, channels]. Raises ValueError as `payload`
        does. before: the segment that it follows, if any
        """
        opening, heard = self.header(vocab, before), self.heard(vocab)
        payload = self._payload(vocab, self.letters_alone and len(heard) > 0)
        steps, end = _blank(len(opening) + len(payload) + 1 + len(heard), vocab), len(opening) + len(payload)
        steps[: len(opening), 0] = opening
        steps[len(opening) : end] = payload
        steps[end, 0] = vocab.control(f"</{self.modality}>")
        steps[end + 1 :, 0] = heard
        return steps

    def _check_shape(self, vocab: Vocabulary) -> None:
        tail = {"text": (), "audio": (vocab.codebooks,), "image": (), "video": (vocab.picture_tokens,)}[self.modality]
        if self.codes.shape[1:] != tail or self.codes.ndim != 1 + len(tail):
            raise ValueError(f"{self.modality} codes must have shape [n, *{tail}], got {self.codes.shape}")
        if self.modality == "image" and len(self.codes) != vocab.picture_tokens:
            raise ValueError(f"a picture is {vocab.picture_tokens} codes, got {len(self.codes)}")
        if self.modality == "video" and not 0 < len(self.codes) <= vocab.frames:
            raise ValueError(f"a video is 1..{vocab.frames} frames, got {len(self.codes)}")
        if self.modality in ("image", "video") and vocab.tags:
            named = self.codes.reshape(-1, vocab.picture_tokens) >= vocab.image - vocab.tags  # [pictures, tokens]
            if (named != (np.arange(vocab.picture_tokens) < vocab.picture_tags)).any():
                raise ValueError(f"a picture is {vocab.picture_tags} tags, then codes that are none")


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
        segments, roles = list(segments), frozenset(trained)
        ids = _joined(segments, laid := _laid(segments, vocab), "<eos>", vocab)
        loss, prefix, at = np.zeros(len(ids), bool), len(ids), 1
        for role, said in groupby(zip(following(segments), laid, strict=True), lambda one: one[0][1].role):
            at += 1
            for (before, segment), steps in said:
                payload, at = at + len(segment.header(vocab, before)), at + len(steps)
                loss[payload : at - len(segment.heard(vocab))] = role in roles
                if role == "assistant":
                    prefix = min(prefix, payload)
            loss[at], at = role in roles, at + 1
        if loss[:prefix].any():                                         # a step that is predicted must not be seen
            prefix = 0
        return cls(ids, loss, prefix)

    def segments(self, vocab: Vocabulary) -> list[Segment]:
        """The inverse of `of`. Raises ValueError for a stream that is not a well-formed conversation."""
        return parse(self.ids, vocab)


def prompt(segments: Iterable[Segment], vocab: Vocabulary, laid: list[np.ndarray] | None = None) -> np.ndarray:
    """Ids [steps, channels] of a conversation that the assistant is to go on with: ends in `<assistant>`.

    laid: what `Segment.laid` gives of each of them, where that is known
    """
    segments = list(segments)
    return _joined(segments, _laid(segments, vocab) if laid is None else laid, "<assistant>", vocab)


def unsure(segments: Many[Segment], vocab: Vocabulary) -> int:
    """Steps at the end of their prompt that change while the last segment, of somebody who speaks, goes on: the last
    ones of the delay layout, `</audio>`, the letters, `<turn>` and `<assistant>`. Letters that stand alone stay, and
    frames do not where letters are to take their place.
    """
    last = segments[-1]
    if last.letters_alone and vocab.spelling is not None:
        return 2 if last.is_letters(vocab) else 2 + len(last.laid(vocab))
    return layout.waiting(vocab) + 3 + len(last.heard(vocab))


def prompt_length(segments: Iterable[Segment], laid: list[np.ndarray]) -> int:
    """Steps of their prompt, or of their sequence."""
    roles = sum(1 for _ in groupby(segments, lambda segment: segment.role))
    return 2 + 2 * roles + sum(map(len, laid))


def parse(ids: np.ndarray, vocab: Vocabulary) -> list[Segment]:
    """Segments of a stream [steps, channels]. Raises ValueError where it is not well-formed."""
    return _Reader(ids, vocab).conversation()


def following(segments: Many[Segment]) -> list[tuple[Segment | None, Segment]]:
    """Each segment after the one that it follows."""
    return list(zip([None, *segments], segments, strict=False))         # the last one is followed by none


def _laid(segments: list[Segment], vocab: Vocabulary) -> list[np.ndarray]:
    """The ids [steps, channels] of each."""
    return [one.laid(vocab, before) for before, one in following(segments)]


def _joined(segments: list[Segment], laid: list[np.ndarray], end: str, vocab: Vocabulary) -> np.ndarray:
    """The turns of a conversation between `<bos>` and a last control token: [steps, channels]. laid: of each segment"""
    if not segments:
        raise ValueError("a sequence needs at least one segment")
    ids = _blank(prompt_length(segments, laid), vocab)
    ids[0, 0], at = vocab.control("<bos>"), 1
    for role, said in groupby(zip(segments, laid, strict=True), lambda pair: pair[0].role):
        ids[at, 0], at = vocab.control(f"<{role}>"), at + 1
        for _, steps in said:
            ids[at : at + len(steps)], at = steps, at + len(steps)
        ids[at, 0], at = vocab.control("<turn>"), at + 1
    ids[at, 0] = vocab.control(end)
    return ids


def _blank(steps: int, vocab: Vocabulary) -> np.ndarray:
    """`<pad>` everywhere: [steps, channels]."""
    return np.full((steps, vocab.channels), vocab.control("<pad>"), np.int64)


def first_channel(ids: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    """Ids [steps] on the first channel, `<pad>` on the others: [steps, channels]."""
    steps = _blank(len(ids), vocab)
    steps[:, 0] = ids
    return steps


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
        spelt = self.skip_letters()
        modality = self.name()[1:-1]
        if modality not in MODALITIES or (spelt and modality != "audio"):
            raise ValueError(f"step {self.at}: expected an opening token, found {self.name() or 'a payload id'}")
        self.at += 1
        start, closing = self.at, self.vocab.control(f"</{modality}>")
        ends = np.flatnonzero(self.ids[start:, 0] == closing)
        if not len(ends):
            raise ValueError(f"step {start}: <{modality}> is never closed")
        stop = start + int(ends[0])
        self.at = stop + 1
        if modality == "audio":
            self.skip_letters()
        return Segment(modality, self.codes(modality, self.ids[start:stop]), role, language, voice)

    def skip_letters(self) -> bool:
        """Whether there were some."""
        start = self.at
        while self.vocab.spelling and self.at < len(self.ids) and self.vocab["text"].holds(self.ids[self.at, 0]):
            self.at += 1
        return self.at > start

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
