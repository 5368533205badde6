"""The choice among candidates: by their mean utility over references, exactly or with less counting."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Generic, TypeVar

import numpy as np

from omni.decode.mbr.ngrams import Scores
from omni.decode.mbr.utilities import Utility, aggregation, check_utility, remembering
from omni.errors import InputError

T = TypeVar("T", bound=Hashable)
FIRST = 8                                                               # references that pruning looks at first


@dataclass(frozen=True)
class Choice:
    """The chosen candidate's number, and every candidate's expected utility (not a number for those given up)."""

    index: int
    expected: Scores  # [candidates]
    pairs: int  # utilities that were computed


def mbr(
    candidates: Sequence[T],
    utility: Utility[T],
    references: Sequence[T] | None = None,
    weights: Sequence[float] | None = None,
) -> Choice:
    """The candidate of highest mean utility over the references (Kumar and Byrne 2004; Eikema and Aziz 2020).

    references: default: the candidates themselves; weights: of the references, default: equal. Equal candidates are
    compared once. Of equally good ones the first is chosen. Raises InputError for empty lists, bad weights, and, as all
    ways here do, what is no list (an array or a column of a table is one), and a utility that is no function or gives
    something else than finite numbers of the shape [candidates, references].
    """
    check_utility(utility)
    share = _weights(candidates, references, weights)
    kinds, of_candidate = _kinds(candidates)
    others, of_reference = (kinds, of_candidate) if references is None else _kinds(references)
    scores = _scored(utility, kinds, others)                            # [kinds of candidates, kinds of references]
    expected = scores @ np.bincount(of_reference, share, len(others))
    return Choice(int(np.flatnonzero(of_candidate == expected.argmax())[0]), expected[of_candidate], scores.size)


class IncrementalMbr(Generic[T]):
    """MBR whose candidates, which are the references, too, come bit by bit: each pair is compared once.

    For drawing until the choice stays the same: `add` gives that among all candidates so far, as `mbr` does.
    """

    def __init__(self, utility: Utility[T]) -> None:
        check_utility(utility)
        self._utility, self._drawn = remembering(utility), list[T]()
        self._scores: Scores = np.zeros((0, 0))                         # [kinds, kinds]

    def add(self, candidates: Sequence[T]) -> Choice:
        """Take these in and choose; `pairs` counts what was compared for them.

        Raises InputError for an empty list, and as `mbr` does; what was added before then stays as it was.
        """
        _weights(candidates, None, None)
        drawn = [*self._drawn, *candidates]                             # an array has a + of its own
        kinds, of_candidate = _kinds(drawn)                             # those from before come first
        known, scores = len(self._scores), np.empty((len(kinds), len(kinds)))
        before, new = kinds[:known], kinds[known:]
        scores[:known, :known] = self._scores
        if new:
            scores[known:, known:] = _scored(self._utility, new, new)
        if new and before:
            scores[:known, known:] = _scored(self._utility, before, new)
            scores[known:, :known] = _scored(self._utility, new, before)
        self._drawn, self._scores = drawn, scores
        expected = scores @ np.bincount(of_candidate) / len(drawn)
        chosen = int(np.flatnonzero(of_candidate == expected.argmax())[0])
        return Choice(chosen, expected[of_candidate], scores.size - known**2)


def mbr_pruned(
    candidates: Sequence[T],
    utility: Utility[T],
    references: Sequence[T] | None = None,
    confidence: float = 0.99,
    resamples: int = 500,
    seed: int = 0,
) -> Choice:
    """MBR that gives up, with ever more references, candidates that hardly could be the best (Cheng and Vlachos 2023).

    The references are taken in their order, 8, 16, 32 ... of them, which should be that of independent draws. A
    candidate stays while it beats the best one in more than 1 - confidence of the bootstrap resamples of the
    references. Equal candidates and equal references are compared once, as in `mbr`. Raises InputError for empty lists,
    a confidence outside 0 < c < 1 and fewer than 1 resample.
    """
    check_utility(utility)
    _weights(candidates, references, None)
    if not (isinstance(confidence, Real) and 0 < confidence < 1):
        raise InputError(f"confidence={confidence!r}: must lie in 0 < c < 1; use 0.99 or so")
    if not isinstance(resamples, Integral) or resamples < 1:
        raise InputError(f"resamples={resamples!r}: must be 1 or more; use 500 or so")
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed={seed!r}: must be a whole number of 0 or more")
    (kinds, of_candidate), compare = _kinds(candidates), remembering(utility)
    others, of_reference = _kinds(candidates if references is None else references)  # first come first in the order
    alive, random, pairs, seen = np.arange(len(kinds)), np.random.default_rng(seed), 0, 0
    scores: Scores = np.zeros((len(kinds), 0))                          # [alive, kinds of references so far]
    while seen < len(of_reference) and (len(alive) > 1 or not seen):
        seen = min(max(FIRST, 2 * seen), len(of_reference))
        counts = np.bincount(of_reference[:seen])                       # [kinds of references so far]
        if new := others[scores.shape[1] : len(counts)]:
            more = _scored(compare, [kinds[number] for number in alive.tolist()], new)
            scores, pairs = np.concatenate((scores, more), axis=1), pairs + more.size
        drawn = random.multinomial(seen, counts / seen, size=resamples)  # [resamples, kinds of references]
        means = scores @ drawn.T                                        # [alive, resamples]
        wins = (means >= means[(scores @ counts).argmax()]).mean(axis=1)
        alive, scores = alive[wins > 1 - confidence], scores[wins > 1 - confidence]
    expected = np.full(len(kinds), np.nan)
    expected[alive] = scores @ counts / seen
    chosen = int(np.flatnonzero(of_candidate == np.nanargmax(expected))[0])
    return Choice(chosen, expected[of_candidate], pairs)


def mbr_coarse_to_fine(
    candidates: Sequence[T],
    coarse: Utility[T],
    fine: Utility[T],
    keep: int,
    references: Sequence[T] | None = None,
) -> Choice:
    """The `keep` best by a cheap utility, then the best of them by a dear one (Eikema and Aziz 2022).

    Raises InputError for empty lists and a `keep` below 1.
    """
    if not isinstance(keep, Integral) or keep < 1:
        raise InputError(f"keep={keep!r}: must be 1 or more candidates")
    check_utility(fine)
    rough = mbr(candidates, coarse, references)
    kinds, of_candidate = _kinds(candidates)
    best = np.full(len(kinds), -np.inf)
    best[of_candidate] = rough.expected
    kept = np.sort(np.argsort(-best, kind="stable")[:keep])
    said = candidates if references is None else references
    exact = mbr([kinds[number] for number in kept.tolist()], remembering(fine), said)
    expected = np.full(len(kinds), np.nan)
    expected[kept] = exact.expected
    chosen = int(np.flatnonzero(of_candidate == kept[exact.index])[0])
    return Choice(chosen, expected[of_candidate], exact.pairs)


def mbr_aggregated(
    candidates: Sequence[T],
    utility: Utility[T],
    references: Sequence[T] | None = None,
    weights: Sequence[float] | None = None,
) -> Choice:
    """MBR against one mean reference, in linear time (DeNero et al. 2009; Vamvas and Sennrich 2024).

    What the mean is, the utility says: for chrF and BLEU of the n-grams' counts, which is an approximation; for the
    cosine of the embeddings, which is exact. Raises InputError for a utility that knows none, and as `mbr` does.
    """
    share, against_mean = _weights(candidates, references, weights), aggregation(utility)
    kinds, of_candidate = _kinds(candidates)
    others, of_reference = (kinds, of_candidate) if references is None else _kinds(references)
    of_kind = np.bincount(of_reference, share, len(others)).astype(np.float64)
    expected = np.asarray(against_mean(kinds, others, of_kind), np.float64)  # [kinds of candidates]
    _check(expected, (len(kinds),), kinds, "by candidates")
    return Choice(int(np.flatnonzero(of_candidate == expected.argmax())[0]), expected[of_candidate], len(kinds))


def _weights(candidates: Sequence[T], references: Sequence[T] | None, weights: Sequence[float] | None) -> Scores:
    """Weights of the references that add up to 1. Raises InputError."""
    said = candidates if references is None else references
    _check_list(candidates, "candidates")
    _check_list(said, "references")
    if not len(candidates) or not len(said):
        raise InputError("nothing to choose from: give one candidate and one reference or more")
    if weights is None:
        return np.full(len(said), 1 / len(said))
    try:
        share = np.asarray(weights, np.float64)
    except (TypeError, ValueError):                                     # not numbers
        share = np.full(len(said), np.nan)
    if share.shape != (len(said),) or not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise InputError(f"weights: must be {len(said)} finite numbers of 0 or more, one a reference, and not all 0")
    return share / share.sum()


def _check_list(answers: Sequence[T], name: str) -> None:
    """Raises InputError for what has no numbered answers: one text would be a list of its letters."""
    if isinstance(answers, str | bytes):
        raise InputError(f"{name}: {answers!r:.60} is a single one; give a list of them")
    kind, dimensions = type(answers).__name__, getattr(answers, "ndim", 1)
    if not (hasattr(answers, "__len__") and hasattr(answers, "__getitem__")) or isinstance(answers, Mapping):
        raise InputError(f"{name}: must be a list of answers, not {kind}")
    if dimensions != 1:
        raise InputError(f"{name}: {kind} of {dimensions} dimensions; give a list of answers, or one column")


def _scored(utility: Utility[T], hypotheses: Sequence[T], references: Sequence[T]) -> Scores:
    """What the utility says: [hypotheses, references]."""
    scores = np.asarray(utility(hypotheses, references), np.float64)
    _check(scores, (len(hypotheses), len(references)), hypotheses, "hypotheses by references")
    return scores


def _check(scores: Scores, wanted: tuple[int, ...], hypotheses: Sequence[T], axes: str) -> None:
    """Raises InputError for what is no scores: a NaN would be the best of all candidates."""
    if scores.shape != wanted:
        raise InputError(f"utility: gave scores of shape {scores.shape}; must be {wanted}, {axes}")
    if not np.isfinite(scores).all():
        place = tuple(np.argwhere(~np.isfinite(scores))[0])
        raise InputError(f"utility: gave {scores[place]} for {hypotheses[place[0]]!r:.60}; must be a finite number")


def _kinds(answers: Sequence[T]) -> tuple[list[T], np.ndarray]:
    """The different answers in the order in which they first come, and the number of each answer among them.

    Raises InputError for what has no hash.
    """
    numbers: dict[T, int] = {}
    try:
        of_answer = np.array([numbers.setdefault(answer, len(numbers)) for answer in answers])
    except TypeError as error:
        raise InputError(f"candidates: {error}; give texts, tuples or other objects that never change") from None
    return list(numbers), of_answer
