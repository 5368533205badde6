"""Text guard: whether what was asked, or what is being answered, is what the policy refuses.

A transcript is judged sentence by sentence, so a request is found among harmless sentences as often as alone; an
embedding of forty words at once lost half of those behind some small talk. A small network that learned from requests
(requests/) tells what a sentence asks for. Where the policy itself has one that is nearly the same, the policy decides:
whoever edits it is followed. Words that no answer may hold are looked for as they are.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from omni.eval.abilities.scoring import normal
from omni.safety.guards.requests.encoder import unit
from omni.safety.guards.requests.learned import learned
from omni.safety.policy import Category, policy

SURE = 0.7                                                              # cosine to a request that decides by itself
LEAST = 0.35                                                            # the same where nothing was learned of one
NEW_WORDS = 8                                                           # of a transcript, until it is looked at again
SPAN, STRIDE = 40, 20                                                   # words of a long sentence looked at together
LONGEST = 1_000                                                         # words of a text that is looked at as a whole
ENDS = (".", "!", "?", "…", ":", ";")                                   # of a sentence


@dataclass(frozen=True)
class Finding:
    """What a text asks for: a category, whether that is refused, and how sure that is.

    cosine, margin: to the nearest request that is not to be complied with; how much that exceeds the others
    """

    category: Category
    refused: bool
    sure: float
    cosine: float
    margin: float


def find(text: str, without: tuple[str, str] | None = None) -> Finding:
    """What a text asks for; `without`: a pair of the policy that it is not compared with."""
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
    grown; sentences are judged once it has grown by some words, and once it has grown no more: before the sound of a
    text is heard, and at its end.
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
    """What the sentences of a text, or its last words together, ask for that is refused."""
    found = sentences(words)
    for finding in _find([*found, *([" ".join(words[-SPAN:])] if len(found) > 1 else [])], without) if found else ():
        if finding.refused:
            return f"{finding.category.name}: like what the policy refuses ({finding.sure:.2f})"
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
    means = learned().read(texts)
    cosines, odds = unit(means[:, -1]) @ _prototypes().T, learned().odds(means)
    if without is not None:
        cosines = np.where(np.array([request in without for request in _requests()]), -1.0, cosines)
    return [_finding(*row) for row in zip(cosines, odds, strict=True)]


def _finding(cosines: NDArray[np.float32], odds: NDArray[np.float32]) -> Finding:
    """Of a text, from its cosines to all requests of the policy and what the network makes of it."""
    keys = learned().categories
    worst, good = int(np.argmax(cosines[::2])), float(cosines[1::2].max())
    cosine, category = float(cosines[2 * worst]), policy()[_owners()[worst]]
    refuses = category.action == "refuse"
    unknown = refuses and category.key not in keys and cosine >= max(LEAST, good)
    if max(cosine, good) >= SURE or unknown:
        return Finding(category, refuses and cosine >= good, max(cosine, good), cosine, cosine - good)
    refused = [place for place, key in enumerate(keys, 1) if key in _refused()]
    if not refused:
        return Finding(category, False, 0.0, cosine, cosine - good)
    passed = [place for place in range(len(odds)) if place not in refused]
    sure = float(expit(logsumexp(odds[refused]) - logsumexp(odds[passed])))
    return Finding(_refused()[keys[max(refused, key=odds.__getitem__) - 1]], sure > 0.5, sure, cosine, cosine - good)


@cache
def _refused() -> dict[str, Category]:
    return {one.key: one for one in policy() if one.action == "refuse"}


@cache
def _requests() -> tuple[str, ...]:
    """All of the policy: one to refuse or to hedge, one to comply with, and so on."""
    return tuple(request for category in policy() for pair in category.pairs for request in pair)


@cache
def _owners() -> tuple[int, ...]:
    """The category of each pair."""
    return tuple(index for index, category in enumerate(policy()) for _ in category.pairs)


@cache
def _prototypes() -> NDArray[np.float32]:
    """Embeddings of all requests, read as any text is: [requests, WIDTH]."""
    return unit(learned().read(_requests())[:, -1])
