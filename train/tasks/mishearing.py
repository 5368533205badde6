"""Speech that is hard to hear: codes of words that are taken for others, and letters without their sound.

Of known voices the codebook of words spells most letters right, of unknown ones half of them, of an unknown
synthesizer a third, so that a model that learns from known voices alone trusts what it reads too much. In training some
of what people say is misheard: codes become others near them, which spell what sounds alike, or nothing.

What is heard stands in the stream twice, as frames and as the letters that they spell (omni.sequence). A model that was
taught by frames goes on looking at them alone, so of many examples only the letters are left, in a third of the steps.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from omni.tokenizers.audio.words import Words

NEAR = 40                                                               # codes that one is taken for
SILENT = 0.3                                                            # of what is misheard is not heard at all


@dataclass(frozen=True)
class Noise:
    """How badly an example is heard: in `share` of what people say up to `most` of the codes, by chance."""

    chance: np.random.Generator
    share: float
    most: float


TO_WRITE = (0.5, 0.5)                                                   # share and most, where every letter counts
TO_ANSWER = (0.75, 0.95)                                                # where one of many known things was said


class Mishearing:
    """What the codes of some words are taken for."""

    def __init__(self, words: Words) -> None:
        centres = words.centres.float()                                 # [codes, dims]
        first, second = centres.chunk(2, dim=1)                         # [codes, 1 + letters] each, blanks first
        self.blank = int((first[:, 0] + second[:, 0]).argmax())         # the surest of saying nothing
        self.spells = np.array([bool(letters.strip()) for letters in words.table(" ")])  # [codes]
        near = torch.cdist(centres, centres).argsort(dim=1)[:, 1 : NEAR + 1]
        self.near: NDArray[np.int64] = near.numpy()                     # [codes, NEAR]

    def __call__(self, codes: NDArray[np.integer], noise: Noise) -> NDArray[np.integer]:
        """The codes [frames, codebooks] as they are, or a copy of them with some of the first codebook misheard."""
        chance = noise.chance
        if not len(codes) or chance.random() >= noise.share:
            return codes
        codes = codes.copy()
        wrong = (chance.random(len(codes)) < chance.random() * noise.most) & self.spells[codes[:, 0]]
        other = self.near[codes[wrong, 0], chance.integers(self.near.shape[1], size=int(wrong.sum()))]
        codes[wrong, 0] = np.where(chance.random(len(other)) < SILENT, self.blank, other)
        return codes
