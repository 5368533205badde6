"""Captions from one language into another, in writing."""

from omni.decode.parts import Text
from omni.eval.abilities.scoring import Result, corpus_chrf
from omni.eval.abilities.subject import CAPTIONED, Question, Subject


def captions(subject: Subject) -> Result:
    """chrf_captions over a sample of ordered pairs, beside chrf_captions_copy: the source handed back as it is."""
    languages = subject.spoken(CAPTIONED)
    pairs = [
        (item, source, target)
        for item in subject.items("stamps")
        for source in languages
        for target in languages
        if source != target and source in item.texts and target in item.texts
    ]
    asked = subject.some(pairs, "translation")
    sources = [item.texts[source] for item, source, _ in asked]
    references = [item.texts[target] for item, _, target in asked]
    said = subject.texts([Question((Text(text),), pair[2]) for text, pair in zip(sources, asked, strict=True)])
    copied = corpus_chrf(sources, references)
    result = Result({"chrf_captions": corpus_chrf(said, references, copied.value), "chrf_captions_copy": copied})
    for text, source, reference, (_, _, target) in zip(said, sources, references, asked, strict=True):
        result.examples.append({"asked": f"{source} (to {target})", "answered": text, "wanted": reference})
    return result
