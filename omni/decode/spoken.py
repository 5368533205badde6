"""Speaking, held to what is to be said: the codes of words that are drawn should spell the text, letter after letter.

A small model loses its place in a text now and then: it leaves a sound out, says one twice, stops early or goes on.
What its codes of words spell is known, so that while it speaks it is known, too, how far it has come: by
connectionist temporal classification (Graves et al. 2006), the probability that what was drawn so far spells the
beginning of the text. A code is drawn by the model's probability times that by which it changes this one, to the power
of HOLD; the end by how probably all was said. What people say is not spelt perfectly either: no code is held to be
less likely than LEAST.
"""

import numpy as np
from numpy.typing import NDArray

HOLD, LEAST = 0.75, 0.1                                                 # measured: docs/generate.md
FAR = 1e-9                                                              # of the likeliest place; further are forgotten

Floats = NDArray[np.float32]


class Spoken:
    """What one row says, and how far it has come.

    chances: of the blank and each letter to be spelt by each code: [letters of a frame, 1 + letters, codes]
    letters: of the text, without blanks [n]

    Places are before, at and after each letter, [2 * n + 1], as in any CTC: `at` is how probably it has come to each
    from `first` on, but for a common factor.
    """

    trust = 1.0                                                         # the power of the model's own probabilities

    def __init__(self, chances: Floats, letters: NDArray[np.int64]) -> None:
        places = np.zeros(2 * len(letters) + 1, np.int64)               # blanks between letters
        places[1::2] = letters
        self.chances = chances[:, places]                               # [letters of a frame, places, codes]
        self.jumps = np.zeros((len(places), 1), np.float32)             # from the letter before, over the blank
        self.jumps[3::2, 0] = letters[1:] != letters[:-1]
        self.first, self.at = 0, np.ones(1, np.float32)
        self._after: Floats | None = None                               # of each code, the next `at`

    def scores(self) -> Floats:
        """Log of what each code does to the probability, and of the end's own, times HOLD: [codes + 1]."""
        ends = self.at[max(0, len(self.jumps) - 2 - self.first) :].sum()  # at the last letter or behind it
        found = np.append(self._followed().sum(axis=0), ends) / self.at.sum()
        scores: Floats = HOLD * np.log(np.maximum(found, LEAST), dtype=np.float32)
        return scores

    def write(self, code: int) -> None:
        """This code is said; the end changes nothing."""
        if code >= self.chances.shape[-1]:
            return
        after = self._followed()[:, code]
        near = np.flatnonzero(after > FAR * after.max())
        self.first, self.at = self.first + int(near[0]), after[near[0] : near[-1] + 1] / after.max()
        self._after = None

    def _followed(self) -> Floats:
        """How probably every place is come to from those `at`, with each code: [places from `first` on, codes]."""
        if self._after is None:
            stop = self.first + len(self.at) + 2 * len(self.chances)
            chances, jumps = self.chances[:, self.first : stop], self.jumps[self.first : stop]
            at = np.zeros_like(jumps)                                   # [places, 1], then [places, codes]
            at[: len(self.at), 0] = self.at
            for moment in chances:                                      # of a frame, each a letter or a blank
                came = at.copy()
                came[1:] += at[:-1]
                came[2:] += at[:-2] * jumps[2:]
                at = came * moment
            self._after = at
        return self._after
