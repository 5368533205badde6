"""What the door and a model's process say to each other. `talk` names the conversation that is meant."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni.decode.parts import Part

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Told:
    """Base of both directions."""

    talk: str


# ---- to the model


@dataclass(frozen=True)
class Open(Told):
    """Begin a conversation; `Close` forgets it."""


@dataclass(frozen=True)
class Close(Told):
    pass


@dataclass(frozen=True)
class Instruct(Told):
    """Instructions that go before all that is said, so that the model has heard them when the user has spoken."""

    system: str


@dataclass(frozen=True)
class Hear(Told):
    """More of what the user is saying: samples at the codec's rate. The model hears it at once."""

    samples: Wave


@dataclass(frozen=True)
class Judge(Told):
    """How probably has the user ended? Answered by `Judged` with the same number."""

    number: int


@dataclass(frozen=True)
class Unhear(Told):
    """Forget what the user was saying."""


@dataclass(frozen=True)
class Commit(Told):
    """Make what was heard an item of the conversation."""

    item: str


@dataclass(frozen=True)
class Put(Told):
    """Add an item, behind `after` (None: at the end, "": at the beginning)."""

    item: str
    parts: tuple[Part, ...]
    after: str | None = None


@dataclass(frozen=True)
class Delete(Told):
    item: str


@dataclass(frozen=True)
class Truncate(Told):
    """Only `seconds` of an answer were heard."""

    item: str
    seconds: float


@dataclass(frozen=True)
class Ask:
    """How an answer is to be given: `want` in order, and the keywords of `Pipeline.asked`."""

    want: tuple[str, ...] = ("text", "audio")
    how: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer(Told):
    """Answer what was said so far.

    item:    what the answer will be called in the conversation; None leaves no trace
    draft:   what is being said counts as said, under this name; nothing is kept until `Keep`
    parts:   what is answered instead of the conversation; a str names an item of it
    system:  instructions that go before it all; where they are not the conversation's, it is heard anew for them
    mute:    a text is read out no further than this, and not once it is there
    """

    answer: str
    ask: Ask
    item: str | None
    draft: str | None = None
    parts: tuple[Part | str, ...] | None = None
    system: str = ""
    mute: str = ""


@dataclass(frozen=True)
class Keep(Told):
    """The drafted answer is the answer."""

    answer: str


@dataclass(frozen=True)
class Stop(Told):
    """Answer no further. A draft that was not kept leaves no trace."""

    answer: str


@dataclass(frozen=True)
class Transcribe(Told):
    """Write down what the user said in an item; answered by `Wrote`, as often as needed, and `Transcribed`.

    soon: while an answer is being heard, as soon as its listener has sound to spare; otherwise after all answers
    """

    item: str
    language: str | None
    soon: bool = False


# ---- from the model


@dataclass(frozen=True)
class Judged(Told):
    number: int
    ended: float | None


@dataclass(frozen=True)
class Began(Told):
    """An answer has begun: steps heard by modality."""

    answer: str
    heard: dict[str, int]


@dataclass(frozen=True)
class Said(Told):
    """A piece of an answer: text, samples at the codec's rate, or a picture [height, width, 3]; codes: that it took."""

    answer: str
    text: str | None = None
    audio: Wave | None = None
    image: NDArray[np.uint8] | None = None
    codes: int = 0


@dataclass(frozen=True)
class Ended(Told):
    """An answer has ended: steps heard by modality, steps said by modality, and whether it was cut for want of room.

    kept: its text as far as its sound has come, where that was cut
    """

    answer: str
    heard: dict[str, int]
    said: dict[str, int]
    cut: bool
    kept: str | None = None


@dataclass(frozen=True)
class Failed(Told):
    """Something asked for could not be done.

    answer: that is not given, or not on; item: that is not in the conversation now; fault: whether it is ours; full:
    whether it was want of memory, so that it can be asked again; long: whether it is more than the model has room for
    """

    message: str
    answer: str | None = None
    item: str | None = None
    fault: bool = False
    full: bool = False
    long: bool = False


@dataclass(frozen=True)
class Wrote(Told):
    """The next letters of a transcript."""

    item: str
    text: str


@dataclass(frozen=True)
class Transcribed(Told):
    """A transcript is whole: its text, codes heard and steps written.

    failed: why it could not be made; full: whether it was want of memory, so that it can be asked for again
    """

    item: str
    text: str
    heard: int
    steps: int
    failed: str | None = None
    full: bool = False


@dataclass(frozen=True)
class Ready(Told):
    """The model's process listens; what it can do.

    codes_a_second: of its speech, of all codebooks together
    longest_text: bytes beyond which a text cannot fit, whatever its codes are
    room: conversations in which it can speak at once without a gap; alone, further: the shares of real time that one of
    them takes here, and each more; 0 where nobody had it measured
    """

    sample_rate: int
    voices: tuple[str, ...]
    languages: tuple[str, ...]
    name: str
    max_steps: int
    codes_a_second: float
    longest_text: int
    room: int = 0
    alone: float = 0.0
    further: float = 0.0

    def too_long(self, text: str) -> str | None:
        """Why a text is not even told to the model, which would keep others waiting, if it is more than fits."""
        if len(text) <= self.longest_text and len(text.encode("utf-8", "replace")) <= self.longest_text:
            return None
        return f"a text of {len(text):,} characters is more than this model can be given; shorten it"
