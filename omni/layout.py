"""How the codebooks of an audio codec share one stream of steps.

flat   codebooks interleaved, one id a step: frame f, codebook k stands at step f * codebooks + k
delay  one step a frame, codebook k shifted by k steps (MusicGen, Copet et al. 2023)
depth  one step a frame, codebooks of a frame predicted in turn by a small head (Moshi, Defossez et al. 2024)

With one codebook the three coincide. A step is `channels` ids; only audio uses channels beyond the first.
"""

import numpy as np
from einops import rearrange

from omni.vocab import Vocabulary


def to_steps(codes: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    """Audio codes [frames, codebooks] as ids of the stream [steps, channels]; ValueError for a code out of range."""
    ids = np.empty(codes.shape, dtype=np.int64)                         # [frames, codebooks]
    for k in range(vocab.codebooks):
        ids[:, k] = vocab.codebook(k).ids(codes[:, k].astype(np.int64))
    if vocab.layout == "flat":
        return rearrange(ids, "frames codebooks -> (frames codebooks) 1")
    if vocab.layout == "depth":
        return ids
    return _shift(ids, vocab.control("<wait>"))


def from_steps(ids: np.ndarray, vocab: Vocabulary) -> np.ndarray:
    """The inverse of `to_steps`: ids [steps, channels] to codes [frames, codebooks].

    Raises ValueError when the steps are not whole frames or hold ids that are not audio.
    """
    if vocab.layout == "flat":
        if len(ids) % vocab.codebooks:
            raise ValueError(f"{len(ids)} audio steps are not whole frames of {vocab.codebooks} codebooks")
        ids = rearrange(ids, "(frames codebooks) 1 -> frames codebooks", codebooks=vocab.codebooks)
    elif vocab.layout == "delay":
        ids = _unshift(ids)
    codes = [vocab.codebook(k).codes(ids[:, k]) for k in range(vocab.codebooks)]
    return np.stack(codes, axis=1)                                      # [frames, codebooks]


def waiting(vocab: Vocabulary) -> int:
    """Steps at the end of an audio segment in which the first channel is silent: codebooks - 1 for `delay`, else 0."""
    return vocab.codebooks - 1 if vocab.layout == "delay" else 0


def _shift(ids: np.ndarray, wait: int) -> np.ndarray:
    frames, codebooks = ids.shape
    if not frames:
        return ids
    steps = np.full((frames + codebooks - 1, codebooks), wait, dtype=ids.dtype)
    for k in range(codebooks):
        steps[k : k + frames, k] = ids[:, k]
    return steps


def _unshift(steps: np.ndarray) -> np.ndarray:
    codebooks = steps.shape[1]
    frames = max(0, len(steps) - (codebooks - 1))
    return np.stack([steps[k : k + frames, k] for k in range(codebooks)], axis=1)
