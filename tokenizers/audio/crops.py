"""Batches of what a codec learns from: random crops of recordings, or whole short ones with their words."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omni.errors import InputError
from omni.tokenizers.audio.augment import degraded
from omni.tokenizers.audio.synthesis import NOISE_HOPS


@dataclass(frozen=True)
class Batch:
    """One step's crops.

    heard, clean: [batch, samples], what the codec hears and what it is to say; noise_hop: where its noise begins;
    texts: what is said in each whole recording, '' for a part of one; lengths: samples that are no padding.
    """

    heard: Tensor
    clean: Tensor
    noise_hop: int
    texts: tuple[str, ...]
    lengths: tuple[int, ...]


class Crops:
    """Batches by step: each is a pure function of (seed, step), and every second of audio is equally likely.

    samples: the longest crop, a multiple of `frame`; texts: the words of each wave, where they are known.
    Raises InputError where there is no audio.
    """

    def __init__(
        self,
        waves: Sequence[np.ndarray],
        texts: Sequence[str],
        *,
        rate: int,
        frame: int,
        samples: int,
        batch: int,
        seed: int,
        augment: bool,
    ) -> None:
        said = texts or [""] * len(waves)
        known = [(wave, text) for wave, text in zip(waves, said, strict=True) if len(wave) > 0]
        if not known:
            raise InputError("codec training: there is no audio to learn from; give at least one wave")
        self.waves, self.texts = [wave for wave, _ in known], [text for _, text in known]
        self.rate, self.frame, self.samples, self.batch = rate, frame, samples, batch
        self.seed, self.augment = seed, augment
        lengths = np.array([len(wave) for wave in self.waves], dtype=np.float64)
        self.chance = lengths / lengths.sum()
        digest = hashlib.sha256(lengths.tobytes())
        for wave in self.waves:
            digest.update(np.ascontiguousarray(wave[:: max(1, len(wave) // 16)], dtype=np.float32).tobytes())
        digest.update("\n".join(self.texts).encode())
        self.fingerprint = digest.hexdigest()

    def __call__(self, step: int) -> Batch:
        """Crops at a loudness changed at random by -12 to +2 dB, padded with silence to the longest of them."""
        chance = np.random.default_rng((self.seed, step))
        rows, texts = [], []
        for index in chance.choice(len(self.waves), self.batch, p=self.chance):
            wave = self.waves[index]
            first = int(chance.integers(max(1, len(wave) - self.samples + 1)))
            clean = wave[first : first + self.samples] * np.float32(10 ** chance.uniform(-0.6, 0.1))
            rows.append(degraded(clean, self.rate, chance) if self.augment else (clean, clean))
            texts.append(self.texts[index] if len(clean) == len(wave) else "")
        lengths = tuple(len(clean) for _, clean in rows)
        longest = -(-max(lengths) // self.frame) * self.frame
        heard, clean = (_stacked([row[side] for row in rows], longest) for side in (0, 1))
        return Batch(heard, clean, int(chance.integers(NOISE_HOPS)), tuple(texts), lengths)


def _stacked(waves: Sequence[np.ndarray], samples: int) -> Tensor:
    padded = [np.pad(wave, (0, samples - len(wave))).clip(-1, 1) for wave in waves]
    return torch.from_numpy(np.stack(padded)).float()                   # [batch, samples]
