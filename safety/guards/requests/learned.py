"""What the text guard has learned (train.py): the category of the policy that a text asks for, if one that is refused.

A text is read as English, its means at some of the encoder's layers go through one hidden layer, and what comes out
are log odds of each category and of none. Weights are few and come with the guard.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.special import erf

from omni.safety.guards.requests.encoder import encode, unit
from omni.safety.guards.requests.language import KNOWN, in_english, letters

FILE = Path(__file__).with_name("learned.safetensors")


@dataclass(frozen=True)
class Learned:
    """Weights, and what they are of.

    categories: what `outer` tells apart, after "none of them", which comes first
    asked:      checksum of the requests that it was trained on
    """

    categories: tuple[str, ...]
    asked: str
    weights: Mapping[str, NDArray[np.float32]]

    def language(self, texts: Sequence[str]) -> list[str]:
        """Which of KNOWN each text is in."""
        table = self.weights["languages"]                               # the last row is the bias
        return [KNOWN[one] for one in np.argmax(letters(texts) @ table[:-1] + table[-1], axis=1)]

    def read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts as English, and that as the encoder's means: [texts, layers, WIDTH]."""
        known = zip(texts, self.language(texts), strict=True)
        return encode([in_english(text, language) for text, language in known])

    def odds(self, means: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log odds, up to what all have in common: [texts, 1 + categories]."""
        weights = self.weights
        inner = features(means, weights["centre"]) @ weights["inner"] + weights["inner_bias"]
        active = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))            # GELU (Hendrycks and Gimpel 2016)
        return np.asarray(active @ weights["outer"] + weights["outer_bias"], np.float32)

    def save(self, path: Path) -> None:
        """In 16 bits, which is enough."""
        about = {"categories": " ".join(self.categories), "asked": self.asked}
        save_file({name: np.ascontiguousarray(self.weights[name], np.float16) for name in self.weights}, path, about)


def features(means: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is learned from: each layer's mean, less what all texts have in common, at length 1."""
    apart = unit(means - centre)                                        # [texts, layers, WIDTH]
    return apart.reshape(len(means), -1) * np.float32(10 / np.sqrt(means.shape[1]))


@cache
def learned(path: Path = FILE) -> Learned:
    """What comes with the guard, or is in another file of such weights."""
    with safe_open(path, "np") as file:
        about, names = file.metadata(), file.keys()
        weights = {name: file.get_tensor(name).astype(np.float32) for name in names}
    return Learned(tuple(about["categories"].split()), about["asked"], weights)
