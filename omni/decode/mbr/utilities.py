"""How good an answer would be if another one were right: chrF, BLEU, words, any function of two answers, or a mixture.

Further utilities: of speech in `speech`, by a network in `embedding`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Real
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from omni.decode.mbr.ngrams import Counts, Grams, Ints, Scores
from omni.errors import InputError

Answer = TypeVar("Answer", contravariant=True)
CHARACTERS, WORDS = 6, 4                                                # longest n-grams of chrF and of BLEU
BETA = 2.0                                                              # chrF weighs recall twice


class Utility(Protocol[Answer]):
    """Scores of all pairs: hypotheses [H] and references [R] to [H, R], higher is better.

    Handed the same object twice, a utility may count each pair once.
    """

    def __call__(self, hypotheses: Sequence[Answer], references: Sequence[Answer], /) -> Scores: ...


Aggregation: TypeAlias = Callable[[Sequence[Answer], Sequence[Answer], Scores], Scores]


def aggregation(utility: Utility[Answer]) -> Aggregation[Answer]:
    """How a utility scores hypotheses [H] against one mean of all references [R], in linear time, to [H].

    Its third argument is the share of each reference in the mean. The utility says how by a method of this name.
    Raises InputError for one that has none, such as any function of two answers.
    """
    check_utility(utility)
    own: Callable[[], Aggregation[Answer]] | None = getattr(utility, "aggregation", None)
    if own is None:
        raise InputError(
            "aggregate: this utility knows no mean of answers; use chrf, bleu, a sentence encoder, quality or"
            " speaker, or leave aggregate out"
        )
    return own()


def check_utility(utility: object) -> None:
    """Raises InputError for what cannot be asked, such as a name."""
    if not callable(utility):
        raise InputError(
            f"utility={utility!r:.60}: must be a function of hypotheses and references, such as"
            " omni.decode.mbr.utilities.chrf; names are for best_of and --utility"
        )


def check_kind(kind: type, name: str, *answers: Sequence[object]) -> None:
    """Raises InputError unless all answers are of a kind, called `name` in the message."""
    for answer in chain(*answers):
        if not isinstance(answer, kind):
            raise InputError(f"utility: this one compares {name}, not {answer!r:.60} ({type(answer).__name__})")


@dataclass(frozen=True)
class Chrf:
    """Sentence chrF (Popović 2015), 0..100, as sacrebleu has it."""

    def __call__(self, hypotheses: Sequence[str], references: Sequence[str], jobs: int = 0) -> Scores:
        """[H, R]. jobs: threads at most, 0 for one a core."""
        grams, rows, among = _grams(hypotheses, references, characters, CHARACTERS)
        scores = grams.chrf(rows, among, BETA, jobs)
        return chrf_of(*_overlaps(grams, rows, among, jobs)) if scores is None else scores

    def aggregation(self) -> Aggregation[str]:
        """Against the mean counts of n-grams (Vamvas and Sennrich 2024): chrF of a mean is not the mean of chrF."""
        return _of_mean_counts(characters, CHARACTERS, chrf_of)


chrf = Chrf()


def chrf_of(matches: NDArray[Any], ours: NDArray[Any], theirs: NDArray[Any]) -> Scores:
    """ChrF of counted n-grams: shared, of the hypothesis and of the reference, each [..., orders], to [...].

    Orders that either has no n-gram of do not count (sacrebleu's effective order).
    """
    both = (ours > 0) & (theirs > 0)
    number = np.maximum(both.sum(axis=-1), 1)
    precision = np.where(both, matches / np.maximum(ours, 1e-16), 0).sum(axis=-1) / number
    recall = np.where(both, matches / np.maximum(theirs, 1e-16), 0).sum(axis=-1) / number
    weighted = BETA**2 * precision + recall
    return 100 * (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)


@dataclass(frozen=True)
class Bleu:
    """Sentence BLEU (Papineni et al. 2002), 0..100, as sacrebleu's sentence_bleu has it.

    Words by the tokenizer 13a, orders that the hypothesis is too short for left out, others smoothed exponentially.
    """

    def __call__(self, hypotheses: Sequence[str], references: Sequence[str], jobs: int = 0) -> Scores:
        """[H, R]. jobs: threads at most, 0 for one a core."""
        matches, ours, theirs = _overlaps(*_grams(hypotheses, references, words, WORDS), jobs)
        scores = np.zeros(matches.shape[:2])
        for row, counted in enumerate(matches):                         # [R, orders]
            scores[row] = bleu_of(counted, ours[row], theirs[0])
        return scores

    def aggregation(self) -> Aggregation[str]:
        """Against the mean counts of n-grams and the mean length (DeNero et al. 2009)."""
        return _of_mean_counts(words, WORDS, bleu_of)


bleu = Bleu()


def bleu_of(matches: NDArray[Any], ours: NDArray[Any], theirs: NDArray[Any]) -> Scores:
    """BLEU of counted n-grams, as `chrf_of` takes them: each [..., orders], to [...]."""
    counted = ours > 0
    halvings = ((matches == 0) & counted).cumsum(axis=-1)
    precision = np.where(matches > 0, matches, 0.5**halvings) / np.maximum(ours, 1)
    logs = np.where(counted, np.log(precision), 0).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
    brevity = np.minimum(0, 1 - theirs[..., 0] / np.maximum(ours[..., 0], 1))
    return np.where((matches > 0).any(axis=-1), 100 * np.exp(brevity + logs), 0.0)


def pairwise(function: Callable[[Answer, Answer], float]) -> Utility[Answer]:
    """A utility of a function of (hypothesis, reference)."""

    def utility(hypotheses: Sequence[Answer], references: Sequence[Answer]) -> Scores:
        scores = [[function(ours, theirs) for theirs in references] for ours in hypotheses]
        return np.array(scores, np.float64).reshape(len(hypotheses), len(references))

    return utility


def word_accuracy(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """1 - word error rate, case and punctuation aside: [H, R], at most 1; below 0 where more is wrong than there is.

    Against a reference without words each word of the hypothesis is one error.
    """
    from omni.tokenizers.audio.recognizer import spoken, word_errors

    check_kind(str, "texts", hypotheses, references)

    def accuracy(text: str, reference: str) -> float:
        if not spoken(reference):
            return 1.0 - len(spoken(text).split())
        errors, words = word_errors(reference, text)
        return 1 - errors / words

    return pairwise(accuracy)(hypotheses, references)


@dataclass(frozen=True, eq=False)
class Mixed(Generic[Answer]):
    """The weighted sum of utilities. Raises InputError for what is no utility, and a weight that is no number."""

    parts: Mapping[Utility[Answer], float]

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Mapping) or not self.parts:
            raise InputError(f"mixed: {self.parts!r:.60}: give utilities and their weights, such as {{chrf: 1.0}}")
        for part, weight in self.parts.items():
            check_utility(part)
            if not isinstance(weight, Real) or not np.isfinite(float(weight)):
                raise InputError(f"mixed: weight {weight!r:.60}: must be a finite number, such as 1.0")

    def __call__(self, hypotheses: Sequence[Answer], references: Sequence[Answer]) -> Scores:
        total: Scores = np.zeros((len(hypotheses), len(references)))
        for part, weight in self.parts.items():
            total += weight * part(hypotheses, references)
        return total

    def remembering(self) -> Utility[Answer]:
        return Mixed({remembering(part): weight for part, weight in self.parts.items()})

    def aggregation(self) -> Aggregation[Answer]:
        """The weighted sum of those of the parts."""
        parts = [(aggregation(part), weight) for part, weight in self.parts.items()]
        return lambda *said: sum((weight * part(*said) for part, weight in parts), np.zeros(len(said[0])))


def mixed(parts: Mapping[Utility[Answer], float]) -> Utility[Answer]:
    """The weighted sum of utilities, such as `{heard(word_accuracy): 1.0, quality: 0.1}`: mind their ranges."""
    return Mixed(parts)


def remembering(utility: Utility[Answer]) -> Utility[Answer]:
    """The utility for one choice, in which it is asked about the same answers again and again: one that has a method of
    this name, as those by a network have, then looks at each answer once."""
    once: Callable[[], Utility[Answer]] | None = getattr(utility, "remembering", None)
    return once() if once else utility


def characters(texts: Sequence[str]) -> list[Ints]:
    """Each text's characters without white space, as chrF counts them."""
    said = ("".join(text.split()).encode("utf-32-le", "surrogatepass") for text in texts)
    return [np.frombuffer(letters, "<u4").astype(np.int64) for letters in said]


def words(texts: Sequence[str]) -> list[Ints]:
    """Each text's words by sacrebleu's tokenizer 13a, each kind of word under one number."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenize, numbers = Tokenizer13a(), dict[str, int]()
    split = [tokenize(text.rstrip()).split() for text in texts]
    return [np.array([numbers.setdefault(word, len(numbers)) for word in line], np.int64) for line in split]


def _of_mean_counts(
    symbols: Callable[[Sequence[str]], list[Ints]], orders: int, score: Callable[[Scores, Ints, Scores], Scores]
) -> Aggregation[str]:
    def of_mean(hypotheses: Sequence[str], references: Sequence[str], share: Scores) -> Scores:
        grams, rows, among = _grams(hypotheses, references, symbols, orders)
        return score(*grams.against_mean(rows, among, share))

    return of_mean


def _grams(
    hypotheses: Sequence[str],
    references: Sequence[str],
    symbols: Callable[[Sequence[str]], list[Ints]],
    orders: int,
) -> tuple[Grams, int, bool]:
    """The n-grams of hypotheses and then references; how many hypotheses; whether the references are the same list,
    whose n-grams then come once. Raises InputError for what is no text."""
    check_kind(str, "texts", hypotheses, references)
    among = hypotheses is references
    said = hypotheses if among else [*hypotheses, *references]
    return Grams.of(symbols(said), orders), len(hypotheses), among


def _overlaps(grams: Grams, rows: int, among: bool, jobs: int) -> tuple[Counts, Ints, Ints]:
    """Shared n-grams [H, R, orders], n-grams of the hypotheses [H, 1, orders] and of the references [1, R, orders]."""
    if among:
        return grams.matches_among(jobs), grams.sizes[:, None], grams.sizes[None]
    return grams.matches(rows, jobs), grams.sizes[:rows, None], grams.sizes[None, rows:]
