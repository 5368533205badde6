"""Writing down what is heard, held to what its codes spell: hybrid decoding (Watanabe et al. 2017, section III).

A model that knows texts by heart writes one of them where it hears little. The codes of words say how likely each
letter is at every moment; by connectionist temporal classification (Graves et al. 2006) that is the probability of
what is heard to begin with what is written so far. Each letter is drawn by that of the longer beginnings, times the
model's own to the power of TRUST.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from omni.decode.spoken import Spoken
from omni.sequence import Segment
from omni.tokenizers.audio.guidance import Alphabet
from omni.tokenizers.audio.words import LETTERS_A_FRAME
from omni.tokenizers.scripts import written

if TYPE_CHECKING:
    from omni.tokenizers.bundle import Tokenizers

TRUST = 0.6                                                             # the power of the model's probabilities
MISHEARD, MISSPOKEN = 0.01, 0.1                                         # of a moment's letter, the chance to be any
BETWEEN = " '’-"                                                        # what a space is heard for
SILENT, UNHEARD = -1, -2                                                # instead of the letter of a piece of text
LEAST = 1e-30


@dataclass(frozen=True, eq=False)
class Ear:
    """What codes of words and pieces of text have to do with each other.

    chances: of the blank and each letter, twice a frame, of every code: [codes, LETTERS_A_FRAME, 1 + letters]
    letter: of each text code and, last, of the end of the text: [text codes + 1]. 0 is the end, SILENT what nobody
    hears, such as a full stop, and UNHEARD a letter, or a part of one, that the codes cannot spell
    alphabet: the letters that codes spell
    """

    chances: NDArray[np.float64]
    letter: NDArray[np.int64]
    alphabet: Alphabet

    @classmethod
    def of(cls, tokenizers: "Tokenizers") -> "Ear | None":
        """That of a codec with a codebook of words beside a text tokenizer, None of others."""
        words = getattr(tokenizers.audio, "words", None)
        if tokenizers.text is None or words is None:
            return None
        roots = words.centres.double().unflatten(-1, (LETTERS_A_FRAME, -1)).cpu().numpy()
        chances = np.square(roots)                                      # centres are roots of probabilities, about
        chances /= np.maximum(chances.sum(-1, keepdims=True), LEAST)
        pieces = [piece.decode(errors="ignore") for piece in tokenizers.text.pieces()]
        known = {letter: number for number, letter in enumerate(words.letters, start=1)}
        letter = np.array([*(_letter(piece, known) for piece in pieces), 0])
        return cls(chances, letter, Alphabet([], words.letters))

    def hear(self, sound: Segment, language: str | None = None) -> "Heard":
        """Nothing is written down yet. language: which is spoken; letters of another script are not heard then."""
        known = np.append(True, written(self.alphabet.letters, language))  # the blank, then letters
        return Heard(self.letter, self._moments(sound.codes) * known)

    def say(self, text: NDArray[np.int64]) -> Spoken | None:
        """Nothing is said yet of these text codes, of a letter each; None where the codes of words lack one."""
        letters = self.letter[text]
        return Spoken(self._spoken, letters) if (letters > 0).all() else None

    def misses(self, codes: NDArray[np.integer], text: str) -> float:
        """How unlikely it is that codes [frames, codebooks] spell a text: nats, infinite where they are too few."""
        wanted = torch.tensor([self.alphabet.ids(text)], dtype=torch.long)  # [1, letters]
        moments = torch.from_numpy(self._moments(codes)).log()[:, None]  # [moments, 1, 1 + letters]
        steps, letters = torch.tensor([len(moments)]), torch.tensor([wanted.numel()])
        return float(F.ctc_loss(moments, wanted, steps, letters, reduction="sum"))

    def _moments(self, codes: NDArray[np.integer]) -> NDArray[np.float64]:
        """Chances of the blank and the letters, as far as they are to be relied on: [moments, 1 + letters]."""
        return _doubted(self.chances[codes[:, 0]], MISHEARD).reshape(-1, self.chances.shape[-1])

    @cached_property
    def _spoken(self) -> NDArray[np.float32]:
        """Chances as far as what is said must keep to them: [LETTERS_A_FRAME, 1 + letters, codes]."""
        return np.ascontiguousarray(_doubted(self.chances, MISSPOKEN).transpose(1, 2, 0), dtype=np.float32)


def _doubted(chances: NDArray[np.float64], doubt: float) -> NDArray[np.float64]:
    """Chances [..., 1 + letters] of what may, with this chance, be any of them."""
    found: NDArray[np.float64] = (1 - doubt) * chances + doubt / chances.shape[-1]
    return found


def _letter(piece: str, known: dict[str, int]) -> int:
    if piece and piece in BETWEEN:
        return known.get(" ", SILENT)
    return known.get(piece.lower(), SILENT if piece and not any(map(str.isalnum, piece)) else UNHEARD)


class Heard:
    """What one recording spells, and how much of it is written down.

    letter: as an ear's; moments: chances of the blank and the letters [moments, 1 + letters]

    Kept of what is written are, of each number of moments [1 + moments], the probabilities that they spell just that,
    ending in its last letter or in a blank, all times a common factor.
    """

    trust = TRUST

    def __init__(self, letter: NDArray[np.int64], moments: NDArray[np.float64]) -> None:
        self.letter, self.moments = letter, moments
        self.last = 0                                                   # letter written
        self.paused = False                                             # by what nobody hears
        self.sounding = np.zeros(1 + len(moments))
        self.silent: NDArray[np.float64] = np.concatenate(([1.0], np.cumprod(moments[:, 0])))

    def scores(self) -> NDArray[np.float64]:
        """Log probability of each text code, and of the end, to come next: [text codes + 1]."""
        begins = (self.silent + self.sounding)[:-1] @ self.moments      # [1 + letters]
        begins[self.last] = self.silent[:-1] @ self.moments[:, self.last]  # after a blank alone
        begins[0] = self.silent[-1] + self.sounding[-1]                 # nothing more
        found = np.log(np.maximum(begins / max(begins.sum(), LEAST), LEAST))
        spelt = found[np.maximum(self.letter, 0)]
        # the model alone decides, but not twice: a model that loops there would come to no end
        spelt[self.letter == SILENT] = found.min() if self.paused else found.max()
        spelt[self.letter == UNHEARD] = found.min()
        return spelt

    def with_code(self, code: int) -> "Heard":
        """The same with one code more written down; this one stays as it is."""
        longer = copy.copy(self)
        longer.write(code)
        return longer

    def write(self, code: int) -> None:
        """Text code `code` is written down; the end changes nothing."""
        letter = int(self.letter[code])
        self.paused = letter == SILENT
        if letter <= 0:
            return
        before = (self.silent if letter == self.last else self.silent + self.sounding).tolist()
        sounds, rests = self.moments[:, letter].tolist(), self.moments[:, 0].tolist()
        sounding, silent = [0.0], [0.0]
        for begin, sound, rest in zip(before, sounds, rests, strict=False):
            silent.append((silent[-1] + sounding[-1]) * rest)
            sounding.append((begin + sounding[-1]) * sound)
        scale = max(*sounding, *silent, LEAST)
        self.sounding, self.silent, self.last = np.array(sounding) / scale, np.array(silent) / scale, letter


def held(own: Tensor, rows: Sequence[Heard | Spoken | None]) -> Tensor:
    """A model's scores of codes and the end [rows, codes + 1], held to what each row hears or says, if anything:
    log-probabilities.
    """
    found = own.float().log_softmax(-1)
    for scores, row in zip(found, rows, strict=True):
        if row is not None:
            scores *= row.trust
            scores += torch.from_numpy(row.scores()).to(own.device, torch.float32)
    return found


def last_sound(segments: Sequence[Segment]) -> Segment:
    """The last segment; where it is sound, with all the sound right before it."""
    number = len(segments)
    while number and segments[number - 1].modality == "audio" and segments[number - 1].role == segments[-1].role:
        number -= 1
    sounds = segments[number:]
    if len(sounds) < 2:
        return segments[-1]
    return Segment("audio", np.concatenate([one.codes for one in sounds]), segments[-1].role)
