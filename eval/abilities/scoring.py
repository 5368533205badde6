"""How answers are scored, and a score with its interval."""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import sacrebleu
from numpy.typing import NDArray

from omni.eval.statistics import bootstrap, bootstrap_of, wilson

ALIKE = 60.0                                                            # chrF from which two short texts are the same
MOST = {"share": 1.0, "chrF": 100.0, "BLEU": 100.0}                     # by unit


@dataclass(frozen=True)
class Measure:
    """A figure with its 95 % interval, over `n` observations; `chance` is what guessing or the baseline reaches."""

    value: float
    unit: str
    low: float
    high: float
    n: int
    chance: float | None = None


@dataclass
class Result:
    """What a part measured: figures by name and some answers to read.

    note: what was left out, and why; seconds: of processor time that it took
    """

    measures: dict[str, Measure] = field(default_factory=dict)
    examples: list[dict[str, str]] = field(default_factory=list)
    note: str = ""
    seconds: float = 0.0


def share(right: Sequence[bool], chance: float | None = None) -> Measure:
    """How many are right (Wilson 1927)."""
    low, high = wilson(sum(right), len(right))
    return Measure(sum(right) / len(right), "share", low, high, len(right), chance)


def mean(values: Sequence[float], unit: str, chance: float | None = None) -> Measure:
    low, high = bootstrap(values)
    return Measure(float(np.mean(values)), unit, low, high, len(values), chance)


def statistic(
    rows: NDArray[np.float64], value: Callable[[NDArray[np.float64]], float], unit: str, chance: float | None = None
) -> Measure:
    """Any function of the observations `rows` [n, ...], with its bootstrap interval.

    Observations that are all alike make resamples that are alike, too, however few they are. What has a most then has
    Wilson's interval, which is as wide as anything up to that most needs.
    """
    found, (low, high) = value(rows), bootstrap_of(rows, value)
    most = MOST.get(unit)
    if most and low == high and 0 <= found <= most:
        low, high = (most * end for end in wilson(found / most * len(rows), len(rows)))
    return Measure(found, unit, low, high, len(rows), chance)


def error_rate(counts: Sequence[tuple[int, int]]) -> Measure:
    """Errors over lengths, pooled: a long text weighs more than a short one."""
    return statistic(np.array(counts, np.float64), lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum()), "share")


def corpus_chrf(texts: Sequence[str], references: Sequence[str], chance: float | None = None) -> Measure:
    """Corpus chrF, 0..100 (Popovic 2015), with a bootstrap over the texts (sacrebleu's own fails on a score of 0)."""
    return statistic(chrf_counts(texts, references), chrf_of, "chrF", chance)


def chrf_counts(texts: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """What each text adds to a corpus' chrF, its matches and lengths: [texts, counts]."""
    return np.array(sacrebleu.CHRF()._extract_corpus_statistics(list(texts), [list(references)]), np.float64)


def bleu_counts(texts: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """What each text adds to a corpus' BLEU (13a tokens), its lengths, matches and n-grams: [texts, 10]."""
    return np.array(sacrebleu.BLEU()._extract_corpus_statistics(list(texts), [list(references)]), np.float64)


def bleu_of(counts: NDArray[np.float64]) -> float:
    """Corpus BLEU of the texts behind these rows of `bleu_counts`."""
    return float(sacrebleu.BLEU()._compute_score_from_stats(counts.sum(axis=0).astype(int).tolist()).score)


def chrf_of(counts: NDArray[np.float64]) -> float:
    """Corpus chrF of the texts behind these rows of `chrf_counts`."""
    return float(sacrebleu.CHRF()._compute_score_from_stats(counts.sum(axis=0).tolist()).score)


def majority(references: Sequence[str]) -> float:
    """The share that always giving the most frequent answer gets right."""
    return max(map(list(references).count, set(references))) / len(references)


def normal(text: str) -> str:
    """A text without case, punctuation and superfluous space."""
    kept = "".join(" " if unicodedata.category(letter)[0] in "PS" else letter for letter in text.casefold())
    return re.sub(r"\s+", " ", kept).strip()


def same(text: str, reference: str) -> bool:
    return normal(text) == normal(reference)


def character_errors(text: str, reference: str) -> tuple[int, int]:
    """(edits, characters of the reference), case and punctuation aside."""
    import jiwer

    wanted = normal(reference)
    counts = jiwer.process_characters(wanted, normal(text))
    return counts.substitutions + counts.deletions + counts.insertions, len(wanted)


def chrf(text: str, reference: str) -> float:
    """Sentence chrF, 0..100, case and punctuation aside."""
    return float(sacrebleu.sentence_chrf(normal(text), [normal(reference)]).score)


def alike(text: str, reference: str) -> bool:
    return chrf(text, reference) >= ALIKE


def chosen(scores: NDArray[np.float64]) -> list[bool]:
    """Whether each row's own column is its highest: scores [n, n]."""
    return [bool(row.argmax() == own) for own, row in enumerate(scores)]


def chosen_freely(scores: NDArray[np.float64]) -> list[bool]:
    """The same after what a column scores on average, so that no answer wins by being likely everywhere."""
    return chosen(scores - scores.mean(axis=0, keepdims=True))


def log_mean_exp(scores: NDArray[np.float64]) -> float:
    top = scores.max()
    return float(top + math.log(np.exp(scores - top).mean()))
