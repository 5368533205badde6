"""How well a codec gives back what was said: likeness of envelopes, and a recognizer that must tell the texts apart."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from omni.tokenizers.audio.recognizer import hearable, spoken, transcribe

if TYPE_CHECKING:
    from omni.tokenizers.audio.codec import Codec


def decoded(codec: "Codec", codes: NDArray[np.int64], samples: int) -> NDArray[np.float32]:
    """The wave of codes [frames, codebooks], cut to [samples]."""
    return np.asarray(codec.decode(torch.from_numpy(codes)[None])[0, :samples].numpy())


def likeness(wave: NDArray[np.float32], again: NDArray[np.float32]) -> float | None:
    """STOI, None where too little is speech."""
    from omni.tokenizers.audio.metrics import stoi

    value = stoi(wave, again)
    return None if math.isnan(value) else value


def recognized(waves: Sequence[NDArray[np.float32]], texts: Sequence[str]) -> list[float]:
    """Of each wave, 1 where pocketsphinx picks its text among all of them, else 0."""
    sentences = hearable(texts)
    return [float(transcribe(wave, sentences) == spoken(text)) for wave, text in zip(waves, texts, strict=True)]
