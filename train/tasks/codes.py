"""Every picture and recording of a manifest as codes, encoded once and kept."""

import hashlib
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json
from omni.sequence import Segment
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.pixels import to_pixels
from omni.tokenizers.text import TextTokenizer
from omni.train.data.engines import HERE, Engine, in_order, one_thread
from omni.train.data.items import Item, Manifest, Recording
from omni.train.tasks.mishearing import Mishearing, Noise
from omni.train.tasks.templates import WRITTEN, Face

if TYPE_CHECKING:                                                       # else each worker would import transformers
    from omni.tokenizers.audio.codec import AudioCodec
    from omni.tokenizers.image.autoencoder import PictureTokenizer

PICTURE_BATCH = 64
AUDIO_BATCH_SECONDS = 60.0


@dataclass(frozen=True)
class Complete:
    """A tokenizer for every modality."""

    text: TextTokenizer
    audio: "AudioCodec"
    image: "PictureTokenizer"


def checked(tokenizers: Tokenizers) -> Complete:
    """All three tokenizers. Raises InputError naming the one that is missing."""
    text, audio, image = tokenizers.text, tokenizers.audio, tokenizers.image
    if text is None or audio is None or image is None:
        missing = [name for name in ("text", "audio", "image") if getattr(tokenizers, name) is None]
        raise InputError(f"no tokenizer for {', '.join(missing)}; train it with `omni tokenizer train {missing[0]}`")
    return Complete(text, audio, image)


def check_size(manifest: Manifest, tokenizer: "PictureTokenizer") -> None:
    """Raises InputError where the pictures of prepared data are not as large as the tokenizer wants them."""
    if (wanted := tokenizer.picture_size) != manifest.picture_size:
        raise InputError(
            f"{manifest.folder}: pictures of {manifest.picture_size} pixels, but the tokenizer wants {wanted};"
            f" run `omni data prepare --picture-size {wanted}`"
        )


class Codes:
    """Codes of the faces of a manifest's items.

    Audio frames of all recordings lie end to end in `audio` [frames, codebooks]; `places` says where each lies.
    """

    def __init__(self, folder: Path, tokenizers: Complete) -> None:
        self.tokenizers = tokenizers
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")  # [pictures, tokens]
        self.audio = np.load(folder / "audio.npy", mmap_mode="r")       # [frames, codebooks]
        starts, first = np.load(folder / "recordings.npy").tolist()     # recording's first sample, its first frame
        self.places = dict(zip(starts, map(slice, first, [*first[1:], len(self.audio)]), strict=True))
        words = getattr(tokenizers.audio, "words", None)
        self.mishearing = None if words is None else Mishearing(words)

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        tokenizers: Tokenizers,
        sources: Collection[str],
        languages: Collection[str],
        folder: Path,
        hands: Engine = HERE,
    ) -> "Codes":
        """The codes of the items of `sources` and of their recordings in `languages`.

        They are encoded into `folder` unless it holds them already, for the same data and tokenizers.
        """
        known = checked(tokenizers)
        check_size(manifest, known.image)
        key = {
            "data": manifest.fingerprint,
            "tokenizers": [known.audio.fingerprint, known.image.fingerprint],
            "sources": sorted(sources),
            "languages": sorted(languages),
        }
        if not (folder / "key.json").exists() or read_json(folder / "key.json") != key:
            recordings = [
                recording
                for item in manifest.items
                for recording in item.recordings
                if item.source in sources and (recording.language is None or recording.language in languages)
            ]
            _encode_all(manifest, tokenizers, recordings, key, folder, hands)
        return cls(folder, known)

    def answer(self, item: Item, given: Face, wanted: Face) -> Segment:
        """The wanted face as the assistant gives it. Where speech is spelt (omni.spelling), what is heard is written
        letter by letter: letters can be copied, pieces of text would have to be spelt first.
        """
        if self.mishearing is None or not WRITTEN.fits(given, wanted):
            return self.segment(item, wanted, "assistant")
        assert wanted.language is not None
        letters = self.tokenizers.text.encode_letters(item.texts[wanted.language])
        return Segment("text", np.array(letters, np.int64), "assistant", wanted.language)

    def segment(self, item: Item, face: Face, role: str, noise: Noise | None = None) -> Segment:
        """A face of an item as a segment; the assistant's carries its language and voice as the instruction.

        noise: in which the user's speech is misheard, None for held-out items
        """
        language = face.language if role == "assistant" else None
        if face.kind == "text":
            assert face.language is not None
            return Segment("text", self.text(item.texts[face.language]), role, language)
        if face.kind == "picture":
            return Segment("image", np.asarray(self.pictures[item.pictures[face.index]]), role, language)
        recording = item.recordings[face.index]
        voice = recording.preset if role == "assistant" else None
        codes = self.recording(recording)
        if self.mishearing is not None and noise is not None and role == "user" and face.kind == "speech":
            codes = self.mishearing(codes, noise)
        return Segment("audio", codes, role, language, voice)

    def text(self, text: str) -> np.ndarray:
        return np.array(self.tokenizers.text.encode(text), np.int64)

    def recording(self, recording: Recording) -> np.ndarray:
        """Codes of a recording: [frames, codebooks]."""
        return np.asarray(self.audio[self.places[recording.start]])


@torch.inference_mode()
def encode_pictures(pictures: np.ndarray, tokenizers: Complete) -> np.ndarray:
    """uint8 [n, size, size, 3] to codes [n, tokens] int32."""
    return tokenizers.image.encode(to_pixels(pictures)).numpy().astype(np.int32)


@lru_cache(maxsize=1)
def opened(data: Path, tokenizers: Path) -> tuple[Manifest, Complete]:
    """What a worker has on its desk: the same files for every job."""
    return Manifest.load(data), checked(Tokenizers.load(tokenizers))


@dataclass(frozen=True)
class Piece:
    """Some pictures, or some recordings, whose codes lie end to end in `file` once a worker has encoded them."""

    data: Path
    tokenizers: Path
    file: Path
    pictures: tuple[int, ...] = ()
    recordings: tuple[Recording, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures or self.recordings)


def encode_piece(piece: Piece) -> Path:
    """Encode a piece, unless it is there already; returns its file."""
    if not piece.file.exists():
        manifest, tokenizers = opened(piece.data, piece.tokenizers)
        with one_thread():
            if piece.pictures:
                codes = encode_pictures(np.stack([manifest.picture(row) for row in piece.pictures]), tokenizers)
            else:
                waves = [manifest.wave(one) for one in piece.recordings]
                codes = np.concatenate(_encode_waves(waves, manifest.sample_rate, tokenizers.audio))
        with atomic_path(piece.file) as scratch:
            np.save(scratch, codes)
    return piece.file


def _encode_all(
    manifest: Manifest,
    tokenizers: Tokenizers,
    recordings: Iterable[Recording],
    key: object,
    folder: Path,
    hands: Engine,
) -> None:
    """Write all codes and the key into `folder`. The pieces stay beside it until it is whole, to be taken up again."""
    pieces = folder.parent.resolve() / f"{folder.name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
    tokenizers.save(pieces / "tokenizers")
    known = checked(tokenizers)
    place = manifest.folder.resolve(), pieces / "tokenizers"
    rows = sorted({row for item in manifest.items for row in item.pictures})
    count = rows[-1] + 1 if rows else 0
    batches = [tuple(range(at, min(at + PICTURE_BATCH, count))) for at in range(0, count, PICTURE_BATCH)]
    shown = [Piece(*place, pieces / f"pictures-{number:06}.npy", batch) for number, batch in enumerate(batches)]
    ordered = sorted(recordings, key=lambda recording: (recording.length, recording.start))
    groups = _batches(ordered, int(AUDIO_BATCH_SECONDS * manifest.sample_rate))
    heard = [Piece(*place, pieces / f"audio-{number:06}.npy", (), group) for number, group in enumerate(groups)]
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        for name, some, width in (("pictures", shown, known.image.tokens), ("audio", heard, known.audio.codebooks)):
            files = list(in_order(hands, encode_piece, some, map(len, some), f"encoding {name}"))
            empty = np.zeros((0, width), np.int32)
            np.save(scratch / f"{name}.npy", np.concatenate([empty, *(np.load(file) for file in files)]))
        frames = [_frames(recording.length, manifest.sample_rate, known.audio) for recording in ordered]
        first = np.cumsum([0, *frames])[:-1]
        np.save(scratch / "recordings.npy", np.array([[one.start for one in ordered], first], np.int64))
        write_json(scratch / "key.json", key)
    shutil.rmtree(pieces)


def _batches(recordings: list[Recording], samples: int) -> list[tuple[Recording, ...]]:
    """Recordings sorted by length, in groups of at most `samples` after padding."""
    batches: list[list[Recording]] = []
    for recording in recordings:
        if not batches or recording.length * (len(batches[-1]) + 1) > samples:
            batches.append([])
        batches[-1].append(recording)
    return [tuple(batch) for batch in batches]


def _frames(samples: int, rate: int, codec: "AudioCodec") -> int:
    """Frames of so many samples at `rate` hertz."""
    return -(-samples * codec.sample_rate // (rate * codec.samples_per_frame))


@torch.inference_mode()
def _encode_waves(waves: list[np.ndarray], rate: int, codec: "AudioCodec") -> list[np.ndarray]:
    """Codes [frames, codebooks] int32 of each wave at `rate` hertz; only a causal codec hears no padding behind it."""
    if len(waves) > 1 and not codec.causal:
        return [codes for wave in waves for codes in _encode_waves([wave], rate, codec)]
    longest = max(map(len, waves))
    padded = torch.zeros(len(waves), -(-longest * codec.sample_rate // rate))  # [batch, samples]
    for row, wave in zip(padded, waves, strict=True):
        heard = _at_rate(wave, rate, codec.sample_rate)[: len(row)]
        row[: len(heard)] = torch.from_numpy(heard)
    codes = codec.encode(padded).numpy().astype(np.int32)               # [batch, frames, codebooks]
    return [row[: _frames(len(wave), rate, codec)] for row, wave in zip(codes, waves, strict=True)]


def _at_rate(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    if rate == wanted:
        return wave
    import soxr

    return np.asarray(soxr.resample(wave, rate, wanted), np.float32)
