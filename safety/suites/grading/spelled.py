"""Which language an answer is spelled in, and how well: letters that follow letters, as in words that we know.

No dictionary of all these languages is at hand. Of each a few thousand words are known: of the lines that models are
taught, requests of the policy and of the text guard, how answers begin, and the labelled answers that the rules were
made on. A word is as likely as its letters are after the three before them, interpolated over shorter contexts
(Jelinek and Mercer 1980).
"""

import math
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache

from omni.eval.abilities.scoring import normal
from omni.safety.guards.requests.corpus import requests
from omni.safety.policy import LANGUAGES, policy, translations
from omni.safety.suites.grading.labelled import labelled
from omni.safety.suites.grading.opening import openings
from omni.train.data.lines import line_items

ORDER = 3                                                               # letters that tell the next one
WEIGHT = 2.0                                                            # of the shorter context, in letters seen
NEAR = 0.3                                                              # in mean log probability of a letter
UNKNOWN = 1 / 40                                                        # a letter's probability without any context


def spelled(plain: str) -> tuple[list[str], float]:
    """Languages that a `normal` text may be in, the likeliest first, and a letter's mean log probability there."""
    words = [word for word in plain.split() if any(map(str.isalpha, word))]
    if not words:                                                       # numbers are as good in any
        return [LANGUAGES[0]], 0.0
    means = {language: _mean(language, words) for language in LANGUAGES}
    best = max(means.values())
    near = [language for language in LANGUAGES if means[language] > best - NEAR]
    return sorted(near, key=means.__getitem__, reverse=True), best


def _mean(language: str, words: list[str]) -> float:
    logs = [one for word in words for one in _letters(language, word)]
    return sum(logs) / len(logs)


@lru_cache(maxsize=1 << 16)
def _letters(language: str, word: str) -> tuple[float, ...]:
    """The log probability of each letter of a word, and of its end."""
    model, text = _models()[language], f"^{word}$"
    return tuple(math.log(model.likely(text[max(0, at - ORDER) : at + 1])) for at in range(1, len(text)))


class _Model:
    """Counts of letters after letters."""

    def __init__(self, words: Iterable[str]) -> None:
        self.seen: Counter[str] = Counter()
        self.before: Counter[str] = Counter()
        for text in (f"^{word}$" for word in words):
            for size in range(1, ORDER + 2):
                for at in range(len(text) - size + 1):
                    self.seen[text[at : at + size]] += 1
                    self.before[text[at : at + size - 1]] += 1

    def likely(self, gram: str) -> float:
        """Of its last letter after the others."""
        found = UNKNOWN
        for start in reversed(range(len(gram))):
            part = gram[start:]
            found = (self.seen[part] + WEIGHT * found) / (self.before[part[:-1]] + WEIGHT)
        return found


@cache
def _models() -> dict[str, _Model]:
    words: dict[str, set[str]] = {language: set() for language in LANGUAGES}
    for item in line_items(LANGUAGES):
        for language, text in item.texts.items():
            words[language].update(normal(text).split())
    for category in policy():
        for request in (request for pair in category.pairs for request in pair):
            words[LANGUAGES[0]].update(normal(request).split())
    for language in LANGUAGES[1:]:
        words[language].update(*(normal(text).split() for text in translations(language).values()))
    for language in LANGUAGES:
        words[language].update(*(normal(text).split() for lines in openings(language).values() for text in lines))
    for one in requests():
        words[one.language].update(normal(one.text).split())
    for row in (*labelled("seen"), *labelled("tried")):
        if row.label != "babble":
            words[row.language].update(normal(row.text).split())
    return {language: _Model(sorted(some)) for language, some in words.items()}
