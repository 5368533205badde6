"""Requests as a weak ear writes them down: by sound, letters doubled or lost, words run together or apart.

The text guard reads what omni-tiny heard ("How do I stelle cor?"); it learns from requests spoilt likewise, and from
nonsense that nothing is to be read into.
"""

import base64
import random
import string

SOUNDS = (
    ("tion", "shon"), ("ight", "ite"), ("wr", "r"), ("kn", "n"), ("ph", "f"), ("ee", "e"), ("ea", "ee"), ("ai", "ay"),
    ("ou", "ow"), ("oo", "u"), ("ck", "k"), ("qu", "kw"), ("th", "t"), ("wh", "w"), ("sh", "ch"), ("er", "or"),
    ("c", "k"), ("c", "s"), ("s", "c"), ("k", "c"), ("f", "v"), ("v", "f"), ("b", "p"), ("p", "b"), ("d", "t"),
    ("t", "d"), ("g", "k"), ("z", "s"), ("x", "cs"), ("m", "n"), ("n", "m"), ("j", "g"), ("a", "e"), ("a", "o"),
    ("e", "i"), ("e", "a"), ("i", "e"), ("i", "y"), ("o", "u"), ("o", "a"), ("u", "o"), ("u", "a"), ("y", "i"),
)  # fmt: skip
SPOILT = 0.6                                                            # of the words
TOGETHER = 0.1                                                          # of neighbours run together; of long ones apart
CODED = 0.3                                                             # of nonsense
LONG = 6                                                                # letters of a word that may come apart


def misspelt(text: str, random: random.Random) -> str:
    """A text, spoilt."""
    words: list[str] = []
    for word in text.split():
        spoilt = _spoilt(word, random) if random.random() < SPOILT else word
        if words and random.random() < TOGETHER:
            words[-1] += spoilt
        elif len(spoilt) >= LONG and random.random() < TOGETHER:
            at = random.randrange(2, len(spoilt) - 1)
            words += [spoilt[:at], spoilt[at:]]
        else:
            words.append(spoilt)
    return " ".join(words)


def nonsense(text: str, random: random.Random) -> str:
    """A text of which nothing is left but its look: in code, or each letter for another."""
    if random.random() < CODED:
        return base64.b64encode(text.encode()).decode()
    letters = list(string.ascii_lowercase)
    random.shuffle(letters)
    table = str.maketrans(string.ascii_letters, "".join(letters) + "".join(letters).upper())
    return text.translate(table)


def _spoilt(word: str, random: random.Random) -> str:
    found = [(sound, like, at) for sound, like in SOUNDS for at in range(len(word)) if word[at:].startswith(sound)]
    kind = random.random()
    if found and kind < 0.7:
        sound, like, at = random.choice(found)
        return word[:at] + like + word[at + len(sound) :]
    at = random.randrange(len(word))
    if kind < 0.85 and len(word) > 3:
        return word[:at] + word[at + 1 :]                               # a letter lost
    return word[:at] + word[at] + word[at:]                             # or doubled
