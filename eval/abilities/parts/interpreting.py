"""A number or a prompt is said in one language and answered, in writing and aloud, in another."""

from collections.abc import Iterator
from dataclasses import dataclass

from omni.decode.parts import Audio
from omni.errors import InputError
from omni.eval.abilities.parts.speaking import number_recordings, number_words, understood
from omni.eval.abilities.scoring import Result, majority, normal, same, share
from omni.eval.abilities.subject import ALOUD, Question, Subject, read_by_flite
from omni.tokenizers.audio.recognizer import hearable, spoken, transcribe
from omni.train.data.lines import numbers
from omni.train.data.voicing import APART


@dataclass(frozen=True)
class Said:
    """A spoken word, by whom, and the word that is wanted in another language."""

    kind: str
    wave: Audio
    source: str
    word: str
    target: str
    wanted: str


def interpret(subject: Subject) -> Result:
    """s2s_accuracy over all and by who speaks; s2s_accuracy_audio of the answers that are English numbers."""
    asked = [*_prompts(subject), *([] if subject.trained else _flite(subject))]
    if not asked:
        raise InputError("the data have no spoken words whose texts in two languages are known")
    made = subject.answers([Question((one.wave,), one.target) for one in asked], ["text", "audio"], ALOUD)
    right = [same(answer.text or "", one.wanted) for answer, one in zip(made, asked, strict=True)]
    result = Result({"s2s_accuracy": share(right, majority([one.wanted for one in asked]))})
    for kind in sorted({one.kind for one in asked}):
        own = [good for good, one in zip(right, asked, strict=True) if one.kind == kind]
        result.measures[f"s2s_accuracy_{kind}"] = share(own)
    closed = hearable(number_words())
    english = [(answer, one.wanted) for answer, one in zip(made, asked, strict=True) if one.target == "en"]
    heard = understood([answer for answer, _ in english], [wanted for _, wanted in english], closed)
    known = [transcribe(one.reference, closed) == spoken(one.text) for one in number_recordings(subject)]
    for name, some in (("s2s_accuracy_audio", heard), ("s2s_accuracy_audio_reference", known)):
        if some:
            result.measures[name] = share(some, 1 / len(closed))
    for answer, one in zip(made, asked, strict=True):
        question = f"{one.word} (spoken, {one.source} to {one.target}, {one.kind})"
        result.examples.append({"asked": question, "answered": answer.text or "", "wanted": one.wanted})
    return result


def _prompts(subject: Subject) -> list[Said]:
    """Recordings of prompts: `unseen` are those of the speakers set apart, `prompts` those of held-out items."""
    found: dict[str, list[Said]] = {}
    for item in subject.items("prompts"):
        for recording in subject.recordings(item):
            assert recording.language
            kind = "unseen" if APART in item.id else "prompts"
            wave = subject.sound(recording)
            for one in _between(subject, kind, wave, recording.language, item.texts, f"{item.id}/{recording.language}"):
                found.setdefault(kind, []).append(one)
    return [one for kind, some in sorted(found.items()) for one in subject.some(some, f"s2s/{kind}", _third(subject))]


def _flite(subject: Subject) -> list[Said]:
    """Numbers read by voices that are in no training data."""
    if "en" not in subject.languages:
        return []
    chosen = [numbers()[number] for number in subject.some(sorted(numbers()), "s2s/flite", _third(subject))]
    waves = read_by_flite([texts["en"] for texts in chosen])
    pairs = list(zip(waves, chosen, strict=True))
    return [one for wave, texts in pairs for one in _between(subject, "flite", wave, "en", texts, texts["en"])]


def _between(
    subject: Subject, kind: str, wave: Audio, source: str, texts: dict[str, str], name: str
) -> Iterator[Said]:
    """The word in English, which a judge can hear, or what is said in English in another language, drawn by name."""
    others = [
        language
        for language in texts
        if language in subject.languages and language != source and normal(texts[language]) != normal(texts[source])
    ]
    if others:
        target = "en" if "en" in others else subject.draw(f"s2s/{name}").choice(others)
        yield Said(kind, wave, source, texts[source], target, texts[target])


def _third(subject: Subject) -> int:
    return max(1, subject.limit // 3)
