"""Items as everything downstream sees them: pictures, recordings and texts of one concept under one id."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.files import read_json, sha256, write_json

FORMAT_VERSION = 1
SAMPLE_RATE = 16_000
SOURCES = ("stamps", "emoji", "clipart", "words", "prompts", "catalogues")
LINES = "lines"                                                         # the source that `omni data voice` adds
PRESET = "preset/"                                                      # begins the speaker of an assistant's voice
SPLITS = ("train", "valid", "test")
DATA_FILES = ("items.jsonl", "pictures.npy", "audio.npy")
WHERE = "OMNI_DATA"                                                     # environment: a prepared folder, or a file
USUAL = ("runs/voiced", "runs/tiny/voiced", "runs/quickstart/data", "runs/data")  # where our commands write one


@dataclass(frozen=True)
class Recording:
    """A stretch of `audio.npy`; `start` and `length` count samples at `Manifest.sample_rate`."""

    start: int
    length: int
    language: str | None  # None for sound effects
    kind: str  # "speech" | "effect"
    speaker: str | None  # a label as far as the source tells voices apart, such as "stamps/fr"
    licence: str

    @property
    def preset(self) -> str | None:
        """Name of the assistant's voice that speaks, None for anybody else's."""
        speaker = self.speaker or ""
        return speaker.removeprefix(PRESET) if speaker.startswith(PRESET) else None

    @property
    def human(self) -> bool:
        """Whether a person spoke as it is heard; other voices are presets, `engine/voice@rate` or told again."""
        return not self.preset and "@" not in (self.speaker or "")


@dataclass(frozen=True)
class Item:
    """One concept (a stamp, an emoji, a prompt, a message) in every language and modality that has it.

    `texts` holds one caption, transcript or message a language; `keywords` further names, possibly none.
    Languages are written in lower case with hyphens: "en", "pt-br".
    """

    id: str  # "stamps/animals/birds/owl"
    source: str
    split: str
    texts: dict[str, str]
    keywords: dict[str, list[str]]
    pictures: tuple[int, ...]  # rows of pictures.npy
    recordings: tuple[Recording, ...]
    licence: str
    attribution: str

    def to_json(self) -> str:
        """One line of items.jsonl."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Item":
        fields: dict[str, Any] = json.loads(line)
        fields["pictures"] = tuple(fields["pictures"])
        fields["recordings"] = tuple(Recording(**recording) for recording in fields["recordings"])
        return cls(**fields)


class Manifest:
    """A prepared data folder: items.jsonl, pictures.npy, audio.npy and manifest.json.

    Pictures and audio stay on disk and are mapped into memory when they are first asked for.
    """

    def __init__(self, folder: Path, about: dict[str, Any], items: tuple[Item, ...]) -> None:
        self.folder = folder
        self.items = items
        self.sample_rate: int = about["sample_rate"]
        self.picture_size: int = about["picture_size"]
        self.fingerprint: str = about["fingerprint"]
        self.dropped: dict[str, dict[str, int]] = about["dropped"]
        self._pictures: NDArray[np.uint8] = np.load(folder / "pictures.npy", mmap_mode="r")
        self._audio: NDArray[np.int16] = np.load(folder / "audio.npy", mmap_mode="r")

    @classmethod
    def load(cls, folder: Path | str) -> "Manifest":
        """Open a prepared folder. Raises InputError when it is missing, damaged or of another version."""
        folder = Path(folder)
        mend = "run `omni data prepare`"
        if not (folder / "manifest.json").is_file():
            raise InputError(f"{folder}: no prepared data there; {mend} or name another folder")
        about = read_json(folder / "manifest.json")
        if not isinstance(about, dict) or about.get("version") != FORMAT_VERSION:
            raise InputError(f"{folder}/manifest.json: not of format {FORMAT_VERSION}; {mend} again")
        for name, size in about["bytes"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise InputError(f"{path}: missing or not {size} bytes long; {mend} again")
        lines = (folder / "items.jsonl").read_bytes()
        if hashlib.sha256(lines).hexdigest() != about["checksums"]["items.jsonl"]:
            raise InputError(f"{folder}/items.jsonl: damaged (its checksum differs); {mend} again")
        return cls(folder, about, tuple(Item.from_json(line) for line in lines.decode("utf-8").splitlines()))

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Row `row` of pictures.npy: [size, size, 3] on white."""
        return self._pictures[row]

    def wave(self, recording: Recording) -> NDArray[np.float32]:
        """The samples of a recording in -1..1: [length]."""
        samples = self._audio[recording.start : recording.start + recording.length]
        return samples.astype(np.float32) / 32768.0

    def waves(self, recordings: Sequence[Recording]) -> Sequence[NDArray[np.float32]]:
        """Those of many recordings, each read when it is asked for."""
        return _Waves(self, recordings)

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the assistant's preset voices in the recordings."""
        return tuple(sorted({one.preset for item in self.items for one in item.recordings if one.preset}))

    def of(self, *, split: str | None = None, source: str | None = None) -> list[Item]:
        """Items of one split, one source, both, or all."""
        return [
            item
            for item in self.items
            if (split is None or item.split == split) and (source is None or item.source == source)
        ]


class _Waves(Sequence[NDArray[np.float32]]):
    def __init__(self, manifest: Manifest, recordings: Sequence[Recording]) -> None:
        self.manifest, self.recordings = manifest, recordings

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: Any) -> Any:
        return self.manifest.wave(self.recordings[index])


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write manifest.json of a folder whose files are whole: `about` them, with sizes, checksums and fingerprint."""
    checksums = {name: sha256(folder / name) for name in DATA_FILES}
    sizes = {name: (folder / name).stat().st_size for name in DATA_FILES}
    known = {"bytes": sizes, "checksums": checksums, "fingerprint": fingerprint(checksums)}
    write_json(folder / "manifest.json", {**about, **known})


def usual_data() -> Path:
    """The data that a command is not told of: $OMNI_DATA, else the first of the usual folders that is there.

    Raises InputError when none of them is.
    """
    if named := os.environ.get(WHERE):
        return Path(named)
    for folder in map(Path, USUAL):
        if (folder / "manifest.json").is_file():
            return folder
    raise InputError(f"no data: name a folder of `omni data prepare` (--data; -T data= for Inspect), or set {WHERE};"
                     f" there is none in {', '.join(USUAL)}")  # fmt: skip


def fingerprint(checksums: dict[str, str]) -> str:
    """One sha256 over the checksums of the prepared files."""
    return hashlib.sha256("\n".join(checksums[name] for name in DATA_FILES).encode()).hexdigest()
