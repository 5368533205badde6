"""The tokenizers that a model speaks through, saved under one folder: text/, audio/ and image/."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError
from omni.files import read_json
from omni.tokenizers.text import TextTokenizer

if TYPE_CHECKING:                                                       # each is imported when a folder holds one
    from omni.tokenizers.audio.codec import Codec
    from omni.tokenizers.audio.pretrained import PretrainedCodec
    from omni.tokenizers.image.autoencoder import ImageTokenizer
    from omni.tokenizers.image.pretrained import PretrainedImage

MODALITIES = ("text", "audio", "image")


@dataclass
class Tokenizers:
    """One tokenizer a modality; None where there is none. Pretrained adapters stand in for our own by their face."""

    text: TextTokenizer | None = None
    audio: "Codec | PretrainedCodec | None" = None
    image: "ImageTokenizer | PretrainedImage | None" = None

    @classmethod
    def load(cls, folder: Path | str) -> "Tokenizers":
        """Read those that are there. Raises InputError when none is, or one is broken."""
        folder = Path(folder)
        found = [name for name in MODALITIES if (folder / name).is_dir()]
        if not found:
            raise InputError(f"{folder}: no tokenizers there; run `omni tokenizer train text --out {folder}`")
        return cls(
            text=TextTokenizer.load(folder / "text") if "text" in found else None,
            audio=load_audio(folder / "audio") if "audio" in found else None,
            image=load_image(folder / "image") if "image" in found else None,
        )

    def save(self, folder: Path | str) -> None:
        """Write each tokenizer into its own folder."""
        for name in MODALITIES:
            tokenizer = getattr(self, name)
            if tokenizer is not None:
                tokenizer.save(Path(folder) / name)

    @property
    def fingerprint(self) -> str:
        """Hash of all fingerprints, 16 hex digits: equal bundles give equal ids."""
        digest = hashlib.sha256()
        for name in MODALITIES:
            tokenizer = getattr(self, name)
            digest.update(f"{name} {tokenizer.fingerprint if tokenizer is not None else None}\n".encode())
        return digest.hexdigest()[:16]


def load_audio(folder: Path | str) -> "Codec | PretrainedCodec":
    """Our own codec, or the adapter of a pretrained one, as the folder's config.json says."""
    from omni.tokenizers.audio.codec import Codec

    if _is_ours(folder):
        return Codec.load(folder)
    from omni.tokenizers.audio.pretrained import PretrainedCodec

    return PretrainedCodec.load(folder)


def load_image(folder: Path | str) -> "ImageTokenizer | PretrainedImage":
    """Our own image tokenizer, or the adapter of a pretrained one, as the folder's config.json says."""
    from omni.tokenizers.image.autoencoder import ImageTokenizer

    if _is_ours(folder):
        return ImageTokenizer.load(folder)
    from omni.tokenizers.image.pretrained import PretrainedImage

    return PretrainedImage.load(folder)


def _is_ours(folder: Path | str) -> bool:
    values = read_json(Path(folder) / "config.json")
    return not isinstance(values, dict) or "model_type" not in values
