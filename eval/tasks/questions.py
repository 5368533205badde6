"""Questions about pictures and numbers, written or spoken, in wordings that were kept for testing."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from inspect_ai import Task, task
from inspect_ai.model import Content, ContentText

from omni.errors import InputError
from omni.eval.inspected.messages import picture
from omni.eval.tasks.examine import examine
from omni.eval.tasks.hearing import SPOKEN, played
from omni.eval.tasks.records import Record, records
from omni.eval.tasks.scorers import right
from omni.train.data.items import Manifest
from omni.train.tasks.dialogues import Dialogue, Said, Script, count, see


@task
def text_qa(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """Written questions: sums, what comes before and after; a stamp's name, kind and colour."""
    found = records(data, lambda held: _questions(held, seed, aloud=False), n, seed)
    return examine("text_qa", found, right(near=True))


@task
def spoken_qa(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The same asked aloud, in voices of synthesizers: reasoning over short audio, and pictures asked about."""
    found = records(data, lambda held: _questions(held, seed, aloud=True), n, seed)
    return examine("spoken_qa", found, right(near=True))


def _questions(manifest: Manifest, seed: int, aloud: bool) -> list[Record]:
    """One question of each held-out item, with the most frequent answer of its kind as the baseline."""
    script = Script(manifest, SPOKEN, seed)
    if not script.languages:
        raise InputError(f"{manifest.folder}: has no lines of dialogues; run `omni data voice`")
    found = [record for dialogue in _dialogues(script) if (record := _record(manifest, dialogue, aloud))]
    answers: defaultdict[tuple[str, str | None], Counter[str]] = defaultdict(Counter)
    for record in found:
        answers[record.groups["topic"], record.language][record.target] += 1
    return [
        Record(**{**vars(record), "baseline": answers[record.groups["topic"], record.language].most_common(1)[0][0]})
        for record in found
    ]


def _dialogues(script: Script) -> Iterator[Dialogue]:
    for item in script.manifest.items:
        if item.source == "stamps" and item.split != "train":
            yield from see(script, item)
        elif item.source == "lines" and item.split != "train":
            yield from count(script, item)


def _record(manifest: Manifest, dialogue: Dialogue, aloud: bool) -> Record | None:
    """The dialogue as a record; None where its question is not to be had aloud, or in writing."""
    *shown, question, reply = [said for said in dialogue if said.role == "user" or said.face.kind == "text"]
    language = question.face.language or ""
    if aloud and not any(one.language == language for one in question.item.recordings):
        return None
    given = [*(_content(manifest, said) for said in shown), _asked(manifest, question, aloud)]
    topic = "/".join(question.item.id.split("/")[1:3]).split("-")[0]
    return Record(
        f"{(shown[0] if shown else question).item.id}:{question.item.id}:{language}:{reply.face.language}",
        reply.item.texts[str(reply.face.language)], tuple(given), language=reply.face.language,
        groups={"language": language, "topic": topic}, more={"spoken_language": language},
    )  # fmt: skip


def _asked(manifest: Manifest, question: Said, aloud: bool) -> Content:
    language = question.face.language or ""
    if not aloud:
        return ContentText(text=question.item.texts[language])
    voices = [one for one in question.item.recordings if one.language == language]
    return played(manifest, voices[question.face.index % len(voices)])


def _content(manifest: Manifest, said: Said) -> Content:
    return picture(manifest.picture(said.item.pictures[said.face.index]))
