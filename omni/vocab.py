"""The shared token space: one contiguous range of ids, `[control | text | audio | image]`."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.spelling import Spelling

if TYPE_CHECKING:
    from torch import Tensor

    from omni.tokenizers.bundle import Tokenizers

Integers = TypeVar("Integers", np.ndarray, "Tensor")                   # any shape

MODALITIES = ("text", "audio", "image", "video")
ROLES = ("system", "user", "assistant")
LAYOUTS = ("flat", "delay", "depth")
LISTED = 16                                                             # names in a line for a person


@dataclass(frozen=True)
class Span:
    """The ids `start .. start + size - 1` of one modality."""

    name: str
    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size

    def ids(self, codes: Integers) -> Integers:
        """Codes of this modality (0 <= code < size) as ids of the shared space. Raises ValueError outside the range."""
        self._check(codes, 0, "codes")
        return codes + self.start

    def codes(self, ids: Integers) -> Integers:
        """The inverse of `ids`; ids of another modality are an error, never wrapped."""
        self._check(ids, self.start, "ids")
        return ids - self.start

    def holds(self, ids: Integers) -> Integers:
        """Which ids lie in this span: booleans of the same shape."""
        return (ids >= self.start) & (ids < self.stop)

    def _check(self, values: Integers, first: int, what: str) -> None:
        if 0 in values.shape:
            return
        low, high = int(values.min()), int(values.max())
        if low < first or high >= first + self.size:
            raise ValueError(f"{self.name} {what} must lie in {first}..{first + self.size - 1}, got {low}..{high}")


@dataclass(frozen=True)
class Vocabulary:
    """Every id of a model, fixed at construction.

    text:           size of the text tokenizer
    codebooks:      codebooks of the audio codec, `codebook_size` codes each; each owns its part of the audio span
    image:          size of the image tokenizer's codebook; a picture is always `picture_tokens` of them
    tags:           how many of the codebook, the last ones, are names of what is shown; a picture begins with
                    `picture_tags` of them (omni.tokenizers.image.tags)
    frames:         number of time tokens `<t0> ...`, the most frames a video can have
    layout:         how codebooks share the stream (omni.layout)
    tokenizers:     fingerprint of the tokenizers whose codes these are
    spelling:       which letters codes of words and pieces of text have, where speech is spelt (omni.sequence)
    """

    text: int
    codebooks: int
    codebook_size: int
    image: int
    picture_tokens: int
    frames: int = 16
    languages: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    layout: str = "flat"
    tokenizers: str = ""
    tags: int = 0
    picture_tags: int = 0
    spelling: Spelling | None = None

    def __post_init__(self) -> None:
        for name in ("text", "codebooks", "codebook_size", "image", "picture_tokens", "frames"):
            if getattr(self, name) <= 0:
                raise ValueError(f"vocabulary: {name} must be positive, got {getattr(self, name)}")
        if not (0 <= self.tags < self.image and 0 <= self.picture_tags < self.picture_tokens):
            raise ValueError("vocabulary: tags are fewer than the image codes, and than the tokens of a picture")
        if bool(self.tags) != bool(self.picture_tags):
            raise ValueError("vocabulary: a picture begins with tags exactly when there are some")
        spelt = self.spelling
        if spelt is not None and (len(spelt.pieces), len(spelt.codes)) != (self.text, self.codebook_size):
            raise ValueError("vocabulary: spelling is that of other text codes, or of another codebook")
        if self.layout not in LAYOUTS:
            raise ValueError(f"vocabulary: unknown audio layout {self.layout!r}; use one of {', '.join(LAYOUTS)}")
        names = (*self.languages, *self.voices)
        if len(set(self.controls)) != len(self.controls) or not all(re.fullmatch(r"[\w-]+", name) for name in names):
            raise ValueError("vocabulary: languages and voices must be distinct names of letters, digits and hyphens")

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """Names of the control tokens in id order. Text cannot produce them: the text span has no spelling of them."""
        modalities = [f"<{modality}>" for modality in MODALITIES] + [f"</{modality}>" for modality in MODALITIES]
        return (
            *("<pad>", "<bos>", "<eos>", "<turn>", "<wait>"),
            *(f"<{role}>" for role in ROLES),
            *modalities,
            *(f"<t{frame}>" for frame in range(self.frames)),
            *(f"<2{language}>" for language in self.languages),
            *(f"<voice:{voice}>" for voice in self.voices),
        )

    @cached_property
    def spans(self) -> dict[str, Span]:
        """The spans laid end to end, in id order."""
        sizes = {
            "control": len(self.controls),
            "text": self.text,
            "audio": self.codebooks * self.codebook_size,
            "image": self.image,
        }
        spans, start = {}, 0
        for name, size in sizes.items():
            spans[name] = Span(name, start, size)
            start += size
        return spans

    def __len__(self) -> int:
        return self.spans["image"].stop

    def __getitem__(self, name: str) -> Span:
        return self.spans[name]

    @cached_property
    def _control_ids(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.controls)}

    @property
    def channels(self) -> int:
        """Ids a step of the stream: 1 for the flat layout, one a codebook otherwise."""
        return 1 if self.layout == "flat" else self.codebooks

    def control(self, name: str) -> int:
        """Id of a control token such as `<bos>`. Raises InputError for a name this vocabulary does not have."""
        try:
            return self._control_ids[name]
        except KeyError:
            raise InputError(f"the vocabulary has no {name}{self._alternatives(name)}") from None

    def _alternatives(self, name: str) -> str:
        if name.startswith("<voice:"):
            return f"; its voices are {_some(self.voices, name[7:-1])}"
        if name.startswith("<2"):
            return f"; its languages are {_some(self.languages, name[2:-1])}"
        return ""

    def codebook(self, index: int) -> Span:
        """The part of the audio span that codebook `index` owns."""
        return Span(f"audio codebook {index}", self["audio"].start + index * self.codebook_size, self.codebook_size)

    def picture_span(self, step: int) -> Span:
        """The part of the image span that the token `step` of a picture is from: tags first, then what is painted."""
        image = self["image"]
        painted = image.size - self.tags
        if step < self.picture_tags:
            return Span("image tags", image.start + painted, self.tags)
        return Span("image", image.start, painted)

    def modality(self, ids: np.ndarray) -> np.ndarray:
        """Index of each id's span in `spans`: 0 control, 1 text, 2 audio, 3 image. Any shape."""
        return np.searchsorted([span.stop for span in self.spans.values()], ids, side="right").astype(np.int8)

    @property
    def _fields(self) -> dict[str, Any]:
        """What is saved; without tags and spelling where there are none, as before there could be any."""
        late = ("tags", "picture_tags", "spelling")
        return {name: value for name, value in asdict(self).items() if value or name not in late}

    @cached_property
    def hash(self) -> str:
        """Identity of this vocabulary: equal exactly when every id means the same."""
        text = json.dumps(self._fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def of(
        cls,
        tokenizers: "Tokenizers",
        languages: Iterable[str] = (),
        layout: str = "flat",
        voices: Iterable[str] = (),
    ) -> "Vocabulary":
        """The token space of these tokenizers with a tag for each language and voice.

        A modality without a tokenizer gets a single id.
        """
        text, audio, image = tokenizers.text, tokenizers.audio, tokenizers.image
        return cls(
            text=1 if text is None else len(text),
            codebooks=1 if audio is None else audio.codebooks,
            codebook_size=1 if audio is None else audio.codebook_size,
            image=1 if image is None else image.codebook_size,
            picture_tokens=1 if image is None else image.tokens,
            tags=0 if image is None else image.tags,
            picture_tags=0 if image is None else image.picture_tags,
            languages=tuple(sorted(set(languages))),
            voices=tuple(sorted(set(voices))),
            layout=layout,
            tokenizers=tokenizers.fingerprint,
            spelling=Spelling.of(tokenizers),
        )

    def save(self, path: Path | str) -> None:
        write_json(path, {**self._fields, "hash": self.hash})

    @classmethod
    def load(cls, path: Path | str) -> "Vocabulary":
        """Read a vocabulary. Raises InputError when the file is missing, damaged or edited."""
        return cls.parse(read_json(path), str(path))

    @classmethod
    def parse(cls, fields: Any, origin: str) -> "Vocabulary":
        """The vocabulary in a dictionary that `save` wrote; `origin` names it in errors."""
        try:
            fields = dict(fields)
            expected = fields.pop("hash")
            fields |= {name: tuple(fields[name]) for name in ("languages", "voices")}
            vocab = cls(**{**fields, "spelling": Spelling.parse(fields.get("spelling"))})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{origin}: not a vocabulary file ({error}); save it again from its run") from None
        if vocab.hash != expected:
            raise InputError(f"{origin}: its hash does not match its contents; restore the original file")
        return vocab

    def check_same(self, other: "Vocabulary", mine: str, theirs: str) -> None:
        """Refuse to mix ids of two token spaces. Raises InputError naming the first field that differs."""
        if self.hash == other.hash:
            return
        ours, others = asdict(self), asdict(other)
        field = next(name for name in ours if ours[name] != others[name])
        raise InputError(
            f"{theirs} was made with another vocabulary than {mine}: {field} differs"
            f" ({_brief(others[field])} against {_brief(ours[field])}); use files of one run"
        )


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _some(names: Sequence[str], asked: str) -> str:
    """A list of names for a person: of many those that are most like `asked`, and as many others as can be read."""
    if len(names) <= LISTED:
        return ", ".join(names) or "none"
    close = difflib.get_close_matches(asked.lower(), names, n=3)
    shown = [*close, *(name for name in names if name not in close)][:LISTED]
    return f"{', '.join(shown)} and {len(names) - LISTED} more"
