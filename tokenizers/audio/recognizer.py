"""Which English words are said in a recording, as pocketsphinx hears it: any, or those of one of some known sentences.

It is a weak judge. With free speech it errs on half the words of a recording that a human finds perfect, and on more of
a single word; asked which of a few hundred sentences was said, on far fewer. Compare it only with itself, on recordings
of the same words.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

RATE = 16000                                                            # samples a second that it takes
Sentences: TypeAlias = tuple[str, ...]


def spoken(text: str) -> str:
    """The words of a text as the recognizer spells them: no case, no punctuation."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def hearable(texts: Sequence[str]) -> Sentences:
    """Those of the texts, each once and as `spoken`, whose every word is in the recognizer's dictionary."""
    known = _decoder(()).lookup_word
    return tuple(sorted({text for text in map(spoken, texts) if text and all(map(known, text.split()))}))


def transcribe(wave: NDArray[np.float32], sentences: Sentences = ()) -> str:
    """Words heard in mono audio at 16 kHz, -1..1; with `sentences` (of `hearable`), which one of them it was."""
    pcm = (np.clip(wave, -1, 1) * 32767).astype(np.int16)
    decoder = _decoder(sentences)
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    return heard.hypstr if heard else ""


@lru_cache(maxsize=4)
def _decoder(sentences: Sentences) -> Any:
    from pocketsphinx import Decoder

    if not sentences:
        return Decoder(samprate=RATE, loglevel="FATAL")
    decoder = Decoder(samprate=RATE, loglevel="FATAL", lm=None)
    decoder.add_jsgf_string("closed", "#JSGF V1.0; grammar closed; public <said> = " + " | ".join(sentences) + ";")
    decoder.activate_search("closed")
    return decoder


def word_errors(reference: str, heard: str) -> tuple[int, int]:
    """(substitutions + deletions + insertions, words of the reference), case and punctuation aside."""
    import jiwer

    wanted = spoken(reference)
    if not wanted:
        raise ValueError("the reference holds no word")
    counts = jiwer.process_words(wanted, spoken(heard))
    return counts.substitutions + counts.deletions + counts.insertions, len(wanted.split())
