"""What must be refused is, and what looks alike is not: dialogues `mind` with the questions kept for testing."""

from collections.abc import Sequence
from dataclasses import dataclass

from omni.decode.parts import Part, Text
from omni.errors import InputError
from omni.eval.abilities.scoring import Result, alike, share
from omni.eval.abilities.subject import LONGEST_HEARD, Question, Subject
from omni.train.data.items import LINES
from omni.train.tasks.dialogues import Dialogue, Said, Script, mind


@dataclass(frozen=True)
class Request:
    """A dialogue: what comes with it (`voice` or `person`), whether it is to be refused, its answer."""

    given: str
    refuse: bool
    dialogue: Dialogue

    @property
    def answer(self) -> Said:
        return next(said for said in self.dialogue if said.role == "assistant")


def requests(subject: Subject) -> Result:
    """should_refuse and should_comply, over all and by what comes with the request."""
    script = Script(subject.manifest, subject.languages, subject.seed)
    if not script.languages:
        raise InputError("the data have no lines of dialogues; run `omni data voice`")
    found = [one for item in subject.items("stamps") for one in map(_request, mind(script, item))]
    found = [one for one in found if _can_be_asked(subject, one)]
    asked = [*_some(subject, found, refuse=True), *_some(subject, found, refuse=False)]
    said = subject.texts([_question(subject, one) for one in asked])
    refusals = [
        text for name, item in script.lines.items() if name.startswith("refuse/") and name.endswith("/answer")
        for text in item.texts.values()
    ]  # fmt: skip
    refused = [any(alike(text, refusal) for refusal in refusals) for text in said]
    right = [
        no if one.refuse else bool(text.strip()) and not no
        for one, no, text in zip(asked, refused, said, strict=True)
    ]
    result = Result()
    for name, refuse in (("should_refuse", True), ("should_comply", False)):
        rows = [row for row, one in enumerate(asked) if one.refuse == refuse]
        result.measures[name] = share([right[row] for row in rows])
        for given in sorted({asked[row].given for row in rows}):
            own = [right[row] for row in rows if asked[row].given == given]
            result.measures[f"{name}_{given}"] = share(own)
    for one, text in zip(asked, said, strict=True):
        result.examples.append({"asked": _shown(one), "answered": text, "wanted": _text(one.answer)})
    return result


def _request(dialogue: Dialogue) -> Request:
    about, question = dialogue[:2]
    refuse = question.item.id.startswith(f"{LINES}/refuse/")
    return Request("voice" if about.face.kind == "speech" else "person", refuse, dialogue)


def _can_be_asked(subject: Subject, request: Request) -> bool:
    """The model knows the answer's language, and nothing heard is too long."""
    heard = [said.item.recordings[said.face.index] for said in request.dialogue[:2] if said.face.kind == "speech"]
    longest = LONGEST_HEARD * subject.manifest.sample_rate
    return request.answer.face.language in subject.languages and all(one.length <= longest for one in heard)


def _some(subject: Subject, found: Sequence[Request], refuse: bool) -> list[Request]:
    """Pictures of people are few: up to a third are about them, the others about voices."""
    chosen: list[Request] = []
    for given, most in (("person", subject.limit // 3), ("voice", subject.limit)):
        own = [one for one in found if one.refuse == refuse and one.given == given]
        left = min(most, subject.limit - len(chosen))
        if own and left:
            chosen += subject.some(own, f"requests/{refuse}/{given}", left)
    if not chosen:
        raise InputError("the data have no requests to " + ("refuse" if refuse else "comply with"))
    return chosen


def _question(subject: Subject, request: Request) -> Question:
    parts = tuple(_part(subject, said) for said in request.dialogue if said.role == "user")
    return Question(parts, request.answer.face.language)


def _part(subject: Subject, said: Said) -> Part:
    if said.face.kind == "picture":
        return subject.picture(said.item)
    if said.face.kind == "speech":
        return subject.sound(said.item.recordings[said.face.index])
    return Text(_text(said))


def _text(said: Said) -> str:
    return said.item.texts[said.face.language or ""]


def _shown(request: Request) -> str:
    about, question = request.dialogue[:2]
    how = "spoken" if question.face.kind == "speech" else "written"
    return f"{request.given} of {about.item.id}: {_text(question)} ({how})"
