"""The tokenizers that a model speaks through, saved under one folder: text/, audio/ and image/."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError
from omni.files import read_json
from omni.tokenizers.text import TextTokenizer

if TYPE_CHECKING:                                                       # each is imported when a folder holds one
    from omni.tokenizers.audio.codec import AudioCodec
    from omni.tokenizers.image.autoencoder import PictureTokenizer

MODALITIES = ("text", "audio", "image")
LOADERS = "omni.tokenizers"                                             # entry points of other packages, by model_type


@dataclass
class Tokenizers:
    """One tokenizer a modality; None where there is none. Others than our own stand in by their face."""

    text: TextTokenizer | None = None
    audio: "AudioCodec | None" = None
    image: "PictureTokenizer | None" = None

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


def load_audio(folder: Path | str) -> "AudioCodec":
    """The codec that the folder's config.json names: our own, a pretrained one, or one of another package.

    Raises InputError where there is none, it is broken, or nothing installed loads it.
    """
    from omni.tokenizers.audio.codec import AudioCodec, Codec

    kind = _kind(folder)
    if kind is None:
        return Codec.load(folder)
    from omni.tokenizers.audio.pretrained import MODELS, PretrainedCodec

    return PretrainedCodec.load(folder) if kind in MODELS else _of_others(folder, kind, MODELS, AudioCodec)


def load_image(folder: Path | str) -> "PictureTokenizer":
    """The same of an image tokenizer."""
    from omni.tokenizers.image.autoencoder import ImageTokenizer, PictureTokenizer

    kind = _kind(folder)
    if kind is None:
        return ImageTokenizer.load(folder)
    from omni.tokenizers.image.pretrained import MODEL_TYPE, PretrainedImage

    known = (MODEL_TYPE,)
    return PretrainedImage.load(folder) if kind in known else _of_others(folder, kind, known, PictureTokenizer)


def _kind(folder: Path | str) -> str | None:
    """The `model_type` of a folder's config.json, which our own have none of."""
    values = read_json(Path(folder) / "config.json")
    return str(values["model_type"]) if isinstance(values, dict) and "model_type" in values else None


def _of_others(folder: Path | str, kind: str, ours: Collection[str], face: type) -> Any:
    """What the loader that an installed package names for a kind makes of a folder. No code of the folder's is run.

    face: the protocol that it must have
    """
    loaders = {one.name: one for one in entry_points(group=LOADERS)}
    if kind not in loaders:
        raise InputError(
            f"{folder}: nothing loads a tokenizer of model_type {kind!r}, only {', '.join(sorted({*ours, *loaders}))};"
            f" install a package with an entry point of that name in the group {LOADERS} (docs/tokenizers.md)"
        )
    try:
        load = loaders[kind].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"{folder}: {loaders[kind].value}, the loader of {kind}, is not there ({error})") from None
    tokenizer = load(folder)
    wanted = [name for name in (*face.__annotations__, *vars(face)) if not name.startswith("_")]
    if missing := [name for name in wanted if not hasattr(tokenizer, name)]:
        raise InputError(f"{folder}: a {kind} tokenizer lacks {', '.join(missing)} (docs/tokenizers.md)")
    return tokenizer
