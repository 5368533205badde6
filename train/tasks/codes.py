"""Every picture and recording of a manifest as codes, encoded once and kept."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json
from omni.progress import progress
from omni.sequence import Segment
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.pretrained import PretrainedCodec
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageTokenizer
from omni.tokenizers.image.pixels import to_pixels
from omni.tokenizers.image.pretrained import PretrainedImage
from omni.tokenizers.text import TextTokenizer
from omni.train.data.items import Item, Manifest, Recording
from omni.train.tasks.templates import Face

PICTURE_BATCH = 64
AUDIO_BATCH_SECONDS = 60.0


@dataclass(frozen=True)
class Complete:
    """A tokenizer for every modality."""

    text: TextTokenizer
    audio: Codec | PretrainedCodec
    image: ImageTokenizer | PretrainedImage


def checked(tokenizers: Tokenizers) -> Complete:
    """All three tokenizers. Raises InputError naming the one that is missing."""
    text, audio, image = tokenizers.text, tokenizers.audio, tokenizers.image
    if text is None or audio is None or image is None:
        missing = [name for name in ("text", "audio", "image") if getattr(tokenizers, name) is None]
        raise InputError(f"no tokenizer for {', '.join(missing)}; train it with `omni tokenizer train {missing[0]}`")
    return Complete(text, audio, image)


class Codes:
    """Codes of the faces of a manifest's items.

    Audio frames of all recordings lie end to end in `audio` [frames, codebooks]; `first` says where each begins.
    """

    def __init__(self, folder: Path, tokenizers: Complete) -> None:
        self.tokenizers = tokenizers
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")  # [pictures, tokens]
        self.audio = np.load(folder / "audio.npy", mmap_mode="r")       # [frames, codebooks]
        starts, frames = np.load(folder / "recordings.npy")             # recording's first sample, its first frame
        self.first = dict(zip(starts.tolist(), frames.tolist(), strict=True))

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        tokenizers: Tokenizers,
        sources: Collection[str],
        languages: Collection[str],
        folder: Path,
    ) -> "Codes":
        """The codes of the items of `sources` and of their recordings in `languages`.

        They are encoded into `folder` unless it holds them already, for the same data and tokenizers.
        """
        known = checked(tokenizers)
        key = {
            "data": manifest.fingerprint,
            "tokenizers": [known.audio.fingerprint, known.image.fingerprint],
            "sources": sorted(sources),
            "languages": sorted(languages),
        }
        if not (folder / "key.json").exists() or read_json(folder / "key.json") != key:
            with atomic_path(folder) as scratch:
                scratch.mkdir()
                _encode_pictures(manifest, known, scratch)
                recordings = [
                    recording
                    for item in manifest.items
                    for recording in item.recordings
                    if item.source in sources and (recording.language is None or recording.language in languages)
                ]
                _encode_recordings(manifest, known, recordings, scratch)
                write_json(scratch / "key.json", key)
        return cls(folder, known)

    def segment(self, item: Item, face: Face, role: str) -> Segment:
        """A face of an item as a segment; the assistant's carries its language as the instruction."""
        language = face.language if role == "assistant" else None
        if face.kind == "text":
            assert face.language is not None
            return Segment("text", self.text(item.texts[face.language]), role, language)
        if face.kind == "picture":
            return Segment("image", np.asarray(self.pictures[item.pictures[face.index]]), role, language)
        return Segment("audio", self.recording(item.recordings[face.index]), role, language)

    def text(self, text: str) -> np.ndarray:
        return np.array(self.tokenizers.text.encode(text), np.int64)

    def recording(self, recording: Recording) -> np.ndarray:
        """Codes of a recording: [frames, codebooks]."""
        first = self.first[recording.start]
        frames = -(-recording.length // self.tokenizers.audio.samples_per_frame)
        return np.asarray(self.audio[first : first + frames])


@torch.inference_mode()
def encode_pictures(pictures: np.ndarray, tokenizers: Complete) -> np.ndarray:
    """uint8 [n, size, size, 3] to codes [n, tokens] int32."""
    return tokenizers.image.encode(to_pixels(pictures)).numpy().astype(np.int32)


def _encode_pictures(manifest: Manifest, tokenizers: Complete, folder: Path) -> None:
    rows = sorted({row for item in manifest.items for row in item.pictures})
    count = rows[-1] + 1 if rows else 0
    codes = np.zeros((count, tokenizers.image.tokens), np.int32)
    for start in progress(range(0, count, PICTURE_BATCH), "encoding pictures", unit="batch"):
        batch = np.stack([manifest.picture(row) for row in range(start, min(start + PICTURE_BATCH, count))])
        codes[start : start + len(batch)] = encode_pictures(batch, tokenizers)
    np.save(folder / "pictures.npy", codes)


def _encode_recordings(
    manifest: Manifest, tokenizers: Complete, chosen: Iterable[Recording], folder: Path
) -> None:
    recordings = sorted(chosen, key=lambda recording: (recording.length, recording.start))
    codes: list[np.ndarray] = []
    with torch.inference_mode():
        batches = list(_batches(recordings, int(AUDIO_BATCH_SECONDS * manifest.sample_rate)))
        for batch in progress(batches, "encoding recordings", unit="batch"):
            codes += _encode_batch([manifest.wave(r) for r in batch], tokenizers)
    lengths = [len(frames) for frames in codes]
    first = np.concatenate(([0], np.cumsum(lengths)[:-1])) if codes else np.zeros(0)
    empty = np.zeros((0, tokenizers.audio.codebooks), np.int32)
    np.save(folder / "audio.npy", np.concatenate(codes or [empty]))
    np.save(folder / "recordings.npy", np.array([[r.start for r in recordings], first], np.int64))


def _batches(recordings: list[Recording], samples: int) -> Iterable[list[Recording]]:
    """Recordings sorted by length, in groups of at most `samples` after padding."""
    batch: list[Recording] = []
    for recording in recordings:
        if batch and recording.length * (len(batch) + 1) > samples:
            yield batch
            batch = []
        batch.append(recording)
    if batch:
        yield batch


def _encode_batch(waves: list[np.ndarray], tokenizers: Complete) -> list[np.ndarray]:
    """Codes [frames, codebooks] int32 of each wave; the codec is causal, so padding behind changes nothing."""
    padded = torch.zeros(len(waves), max(map(len, waves)))              # [batch, samples]
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    codes = tokenizers.audio.encode(padded).numpy().astype(np.int32)    # [batch, frames, codebooks]
    per_frame = tokenizers.audio.samples_per_frame
    return [frames[: -(-len(wave) // per_frame)] for frames, wave in zip(codes, waves, strict=True)]


