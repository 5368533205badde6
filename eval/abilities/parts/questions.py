"""A picture and a spoken English question about it, which nobody asked in training, answered in writing and aloud."""

from dataclasses import dataclass

from omni.errors import InputError
from omni.eval.abilities.parts.speaking import understood
from omni.eval.abilities.scoring import Result, alike, majority, normal, same, share
from omni.eval.abilities.subject import ALOUD, Question, Subject, read_by_flite
from omni.tokenizers.audio.recognizer import hearable
from omni.train.data.items import Item
from omni.train.data.lines import table
from omni.train.tasks.colours import colour_of
from omni.train.tasks.dialogues import KINDS, Script, folder


@dataclass(frozen=True)
class Asked:
    """A question about an item's picture, and its answer."""

    kind: str
    item: Item
    question: str
    language: str
    reference: str

    def right(self, text: str) -> bool:
        return alike(text, self.reference) if self.kind == "name" else same(text, self.reference)


def about_pictures(subject: Subject) -> Result:
    """spoken_vqa_accuracy over all and by kind (yesno, colour, name); spoken_vqa_audio of the English answers."""
    subject.spoken(["en"])
    asked = _questions(subject)
    waves = read_by_flite([one.question for one in asked])
    questions = [
        Question((subject.picture(one.item), wave), one.language) for one, wave in zip(asked, waves, strict=True)
    ]
    made = subject.answers(questions, ["text", "audio"], ALOUD)
    right = [one.right(answer.text or "") for one, answer in zip(asked, made, strict=True)]
    result = Result()
    chances: list[float] = []
    for kind in sorted({one.kind for one in asked}):
        own = [row for row, one in enumerate(asked) if one.kind == kind]
        guess = majority([asked[row].reference for row in own])
        chances += [guess] * len(own)
        result.measures[f"spoken_vqa_accuracy_{kind}"] = share([right[row] for row in own], guess)
    result.measures = {"spoken_vqa_accuracy": share(right, sum(chances) / len(chances)), **result.measures}
    closed = hearable([texts["en"] for texts in table()["words"].values()])
    aloud = [(answer, one.reference) for one, answer in zip(asked, made, strict=True) if one.kind != "name"]
    wanted = [reference for _, reference in aloud]
    if heard := understood([answer for answer, _ in aloud], wanted, closed):
        result.measures["spoken_vqa_audio"] = share(heard, majority(wanted))
    for one, answer in zip(asked, made, strict=True):
        question = f"{one.item.id}: {one.question} (spoken)"
        result.examples.append({"asked": question, "answered": answer.text or "", "wanted": one.reference})
    return result


def _questions(subject: Subject) -> list[Asked]:
    """Of each kind a third of the limit; as many are answered yes as no, where there are enough."""
    script = Script(subject.manifest, subject.languages, subject.seed)
    if "en" not in script.languages:
        raise InputError("the data have no lines of dialogues; run `omni data voice`")
    third = max(2, subject.limit // 3)
    pools: dict[str, tuple[int, list[Asked]]] = {
        "yes": (third // 2, []), "no": (third // 2, []), "colour": (third, []), "name": (third, []),
    }  # fmt: skip
    for item in subject.items("stamps"):
        if item.pictures:
            for one in (_yes_no(subject, script, item), _colour(subject, script, item), _name(subject, script, item)):
                if one:
                    pools[normal(one.reference) if one.kind == "yesno" else one.kind][1].append(one)
    drawn = [subject.some(found, f"vqa/{pool}", most) for pool, (most, found) in pools.items() if found]
    if not drawn:
        raise InputError("the data have no pictures of stamps to ask about")
    return [one for some in drawn for one in some]


def _yes_no(subject: Subject, script: Script, item: Item) -> Asked | None:
    """Is it an animal, a plant, a vehicle, food? What is one of them is asked about as such most of the time."""
    draw = subject.draw(f"vqa/yesno/{item.id}")
    own = [topic for topic, name in KINDS.items() if folder(item) == name]
    topic = own[0] if own and draw.random() < 0.75 else draw.choice([other for other in KINDS if other not in own])
    return _asked(subject, script, item, "yesno", topic, "word/yes" if topic in own else "word/no")


def _colour(subject: Subject, script: Script, item: Item) -> Asked | None:
    colour = colour_of(subject.manifest.picture(item.pictures[0]))
    return _asked(subject, script, item, "colour", "colour", f"word/{colour}") if colour else None


def _asked(subject: Subject, script: Script, item: Item, kind: str, topic: str, answer: str) -> Asked | None:
    variants = script.questions(f"ask/{topic}", "en", item.split)
    reply = script.lines.get(answer)
    if not variants or reply is None or "en" not in reply.texts:
        return None
    question = subject.draw(f"vqa/{kind}/{item.id}/variant").choice(variants)
    return Asked(kind, item, question.texts["en"], "en", reply.texts["en"])


def _name(subject: Subject, script: Script, item: Item) -> Asked | None:
    """What is it called in another language?"""
    others = [language for language in script.languages if language in item.texts and language != "en"]
    if not others:
        return None
    draw = subject.draw(f"vqa/name/{item.id}")
    language = draw.choice(others)
    variants = [one for one in script.questions("ask/translate", "en", item.split) if one.id.endswith(f"-{language}")]
    if not variants:
        return None
    return Asked("name", item, draw.choice(variants).texts["en"], language, item.texts[language])
