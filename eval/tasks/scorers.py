"""Scorers of answers: characters, words, chrF, the right choice, what a recogniser hears, bits a byte."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import sacrebleu
from inspect_ai.model import ContentAudio
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState
from numpy.typing import NDArray

from omni.eval.abilities.scoring import alike, character_errors, chrf, normal, same
from omni.eval.inspected.messages import read_sound
from omni.eval.tasks.measures import measured, scored
from omni.tokenizers.audio.metrics import Wave, dnsmos, resample
from omni.tokenizers.audio.recognizer import RATE, Sentences, transcribe, word_errors

MARKED = re.compile(r"^\W*([A-Za-z])(?:\W*$|[.:)\]*]+\s)")             # the whole answer, or before a mark
STATED = re.compile(                                                    # A and I are words as well
    r"\b(?:answer|option|choice)\b(?:\s+is)?[\s:([*\"']*(?:((?-i:[B-HJ-Z]))\b|([A-Z])\b(?!['’]|\s+\w))", re.IGNORECASE
)
DIGITS = re.compile(r"\d+")
Rate = Callable[[str, str], tuple[int, int]]                            # (said, wanted) to (errors, length)


@scorer(metrics=[measured("cer")], name="cer")
def characters() -> Scorer:
    """Character errors over characters, case and punctuation aside; saying nothing scores 1."""
    return _rate(character_errors)


@scorer(metrics=[measured("wer")], name="wer")
def words() -> Scorer:
    """Word errors over words, split at spaces, case and punctuation aside; saying nothing scores 1."""
    return _rate(_word_errors)


@scorer(metrics=[measured("chrf")], name="chrf")
def translation() -> Scorer:
    """Corpus chrF, 0 to 100; a sample's own value is its sentence chrF."""
    return _compared("chrf", lambda said, wanted: chrf(said, wanted) if normal(wanted) else 0.0)


@scorer(metrics=[measured("bleu")], name="bleu")
def translation_by_words() -> Scorer:
    """Corpus BLEU, 0 to 100, by sacrebleu with its own tokens; a sample's own value is its sentence BLEU."""
    return _compared("bleu", lambda said, wanted: sacrebleu.sentence_bleu(said, [wanted]).score)


@scorer(metrics=[measured("accuracy")], name="accuracy")
def right(near: bool = False) -> Scorer:
    """Whether the answer is the right one, or one that is `accepted` too, case and punctuation aside.

    With `near`, as `close` has it; `exact` records want the very answer nevertheless.

    One of `choices` that was named, or whose letter was; what is neither is wrong, and counted as `unparsable`.
    """

    async def score(state: TaskState, target: Target) -> Score:
        said, meta = _text(state), state.metadata
        choices = meta.get("choices") or []

        def is_right(answer: str) -> bool:
            if choices:
                return chosen(answer, choices) == target.text
            agrees = close if near and not meta.get("exact") else same
            return any(agrees(answer, wanted) for wanted in (target.text, *meta.get("accepted", ())))

        good, trivial = is_right(said), meta.get("baseline")
        baseline = None if trivial is None else [float(is_right(trivial))]
        chance = 1 / len(choices) if choices else None
        lost = chosen(said, choices) is None if choices else None
        why = "the answer names none of the choices" if lost else None
        return scored("share", [float(good)], meta, said, float(good), baseline, chance, why, lost)

    return score


@scorer(metrics=[measured("wer_heard")], name="wer_heard")
def heard(closed: Sentences, reference: Callable[[str], Wave | None]) -> Scorer:
    """Word errors that pocketsphinx makes on the model's speech, choosing among `closed` sentences.

    reference: the preset's own recording of a record by its id, where there is one: its errors are the baseline, for
    the judge is a weak one
    """

    async def score(state: TaskState, target: Target) -> Score:
        wave = speech(state)
        said = "" if wave is None else transcribe(wave, closed)
        errors, length = word_errors(target.text, said)
        own = reference(str(state.sample_id))
        best = None if own is None else list(word_errors(target.text, transcribe(own, closed)))
        return scored("pooled", [errors, length], state.metadata, said, errors / length, best)

    return score


@scorer(metrics=[measured("dnsmos")], name="dnsmos")
def quality(reference: Callable[[str], Wave | None]) -> Scorer:
    """DNSMOS of the model's speech, 1 to 5, beside that of the preset's recording; it hardly tells voices apart."""

    async def score(state: TaskState, target: Target) -> Score:
        wave = speech(state)
        value = 1.0 if wave is None or len(wave) < RATE // 10 else dnsmos(wave)
        own = reference(str(state.sample_id))
        return scored("mean", [value], state.metadata, "", value, None if own is None else [dnsmos(own)])

    return score


@scorer(metrics=[measured("bits_per_byte")], name="bits_per_byte")
def bits() -> Scorer:
    """Bits a byte of the target, the tokens that end it among them; `baseline_bits` of a record are its baseline."""

    async def score(state: TaskState, target: Target) -> Score:
        nats = (state.output.metadata or {})["log_likelihood"]
        length = len(target.text.encode())
        own = -nats / math.log(2)
        trivial = state.metadata.get("baseline_bits")
        baseline = None if trivial is None else [trivial, length]
        return scored("bits", [own, length], state.metadata, "", own / length, baseline)

    return score


@scorer(metrics=[measured("retrieval")], name="retrieval")
def retrieved(
    features: Callable[[str], NDArray[np.float32]], of: Callable[[TaskState], NDArray[np.float32]],
    nothing: Callable[[], NDArray[np.float32]],
) -> Scorer:  # fmt: skip
    """Whether, among the `others` of a record and itself, its own picture is nearest to what was drawn.

    nothing: features of what draws itself whatever is asked, the baseline
    """

    async def score(state: TaskState, target: Target) -> Score:
        names = [target.text, *state.metadata["others"]]
        shown = np.stack([features(name) for name in names])
        nearest, trivial = (_nearest(shown @ drawn) for drawn in (of(state), nothing()))
        good, baseline = _hit(nearest), [_hit(trivial)]
        answer = ", ".join(names[one] for one in nearest)
        return scored("rate", [good], state.metadata, answer, good, baseline, 1 / len(names))

    return score


def _nearest(cosines: NDArray[np.float32]) -> list[int]:
    """Of which pictures something is nearest: of all where it has no features at all, as a white sheet has none."""
    known = np.nan_to_num(cosines)
    return [int(one) for one in np.flatnonzero(known >= known.max())]


def _hit(nearest: list[int]) -> float:
    """Whether the first is the nearest; where others are as near, how often one of them at random would be it."""
    return float(0 in nearest) / len(nearest)


def close(said: str, wanted: str) -> bool:
    """The same, or for a wanted answer of several words one with its digits and a chrF of 60.

    Of single words chrF tells too little: it takes "seventeen" for "seven".
    """
    if same(said, wanted) or len(normal(wanted).split()) < 2:
        return same(said, wanted)
    return DIGITS.findall(said) == DIGITS.findall(wanted) and alike(said, wanted)


def chosen(said: str, choices: Sequence[str]) -> str | None:
    """The one of the choices that an answer names, whole or by its letter; None where it names none or several.

    A letter counts where it is one: alone, marked as in `(B)` or `b.`, or said to be the answer. "A bell" has none.
    """
    if exact := [choice for choice in choices if same(said, choice)]:
        return exact[0]
    letters = {chr(ord("A") + number): choice for number, choice in enumerate(choices)}
    for form in (MARKED, STATED):
        found = [next(filter(None, one.groups())).upper() for one in form.finditer(said)]
        if found and found[-1] in letters:
            return letters[found[-1]]
    named = [choice for choice in choices if normal(choice) and f" {normal(choice)} " in f" {normal(said)} "]
    return named[0] if len(named) == 1 else None


def speech(state: TaskState) -> Wave | None:
    """What was said aloud, at the judges' rate; None where nothing was."""
    contents = state.output.message.content
    found = [] if isinstance(contents, str) else [one for one in contents if isinstance(one, ContentAudio)]
    if not found:
        return None
    wave, rate = read_sound(found[0])
    return resample(wave, rate, RATE)


def _rate(errors: Rate) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        said, meta = _text(state), state.metadata
        counts = errors(said, target.text)
        trivial = meta.get("baseline")
        baseline = None if trivial is None else list(errors(trivial, target.text))
        return scored("pooled", counts, meta, said, counts[0] / max(1, counts[1]), baseline)

    return score


def _compared(kind: str, own: Callable[[str, str], float]) -> Scorer:
    """Texts beside their references; own: a sample's value by itself, of (said, wanted)."""

    async def score(state: TaskState, target: Target) -> Score:
        said, meta = _text(state), state.metadata
        baseline = None if meta.get("baseline") is None else [meta["baseline"], target.text]
        return scored(kind, [said, target.text], meta, said, own(said, target.text), baseline)

    return score


def _word_errors(said: str, wanted: str) -> tuple[int, int]:
    import jiwer

    counts = jiwer.process_words(normal(wanted), normal(said))
    return counts.substitutions + counts.deletions + counts.insertions, len(normal(wanted).split())


def _text(state: TaskState) -> str:
    return state.output.completion if state.output.choices else ""
