import re
from dataclasses import replace
from pathlib import Path

import pytest

from omni.train.data.items import PRESET, Item, Manifest, Recording
from omni.train.data.lines import line_items, numbers, table
from omni.train.tasks.dialogues import DIALOGUES, Dialogue, Script, concerns, mind, shows_person

LANGUAGES = ("en", "fr", "es")


def spoken(language: str, speaker: str) -> Recording:
    return Recording(0, 100, language, "speech", speaker, "")


def voiced(item: Item) -> Item:
    """Every text said by a preset and by somebody else."""
    made = [spoken(language, who) for language in item.texts for who in (f"{PRESET}clara", "espeak-ng/f1@125")]
    return replace(item, recordings=tuple(made))


@pytest.fixture
def script(prepared: Path) -> Script:
    manifest = Manifest.load(prepared)
    folders = ("animals/birds", "plants/trees", "people/cartoon", "food/fruit")
    stamps = [
        voiced(replace(item, id=f"stamps/{folders[row % 4]}/{row}", texts={**item.texts, "es": f"número {row}"}))
        for row, item in enumerate(manifest.items)
    ]
    manifest.items = (*stamps, *map(voiced, line_items(LANGUAGES)))
    return Script(manifest, ("de", *LANGUAGES), 0)


def written(dialogue: Dialogue, role: str) -> list[str]:
    texts = []
    for said in dialogue:
        if said.role == role and said.face.kind != "picture":
            texts.append(said.item.texts[said.face.language or ""])
    return texts


def all_of(script: Script, name: str) -> list[tuple[Item, Dialogue]]:
    items = [item for item in script.manifest if concerns(name, item)]
    return [(item, dialogue) for item in items for dialogue in DIALOGUES[name](script, item)]


def test_languages_without_lines_are_not_spoken(script: Script) -> None:
    assert script.languages == LANGUAGES


@pytest.mark.parametrize("name", DIALOGUES)
def test_without_a_language_that_has_lines_nothing_is_asked(script: Script, name: str) -> None:
    assert all_of(Script(script.manifest, ("de",), 0), name) == []      # the fixture's lines have no German


@pytest.mark.parametrize("name", [name for name in DIALOGUES if name != "chat"])
def test_answers_are_written_then_said_by_a_preset_in_the_same_words(script: Script, name: str) -> None:
    found = all_of(script, name)
    assert len(found) > 20
    for _, dialogue in found:
        text, speech = dialogue[-2:]
        assert (text.role, speech.role) == ("assistant", "assistant")
        assert (text.face.kind, speech.face.kind) == ("text", "speech")
        assert text.item is speech.item and text.face.language == speech.face.language
        assert (speech.item.recordings[speech.face.index].speaker or "").startswith(PRESET)
        assert all(said.role == "user" for said in dialogue[:-2])


def test_a_chat_asks_the_same_in_writing_and_nobody_asks_or_answers_aloud(script: Script) -> None:
    found = [dialogue for _, dialogue in all_of(script, "chat")]
    kinds = [[said.face.kind for said in dialogue] for dialogue in found]
    assert {tuple(one) for one in kinds} == {("picture", "text", "text"), ("speech", "text", "text"), ("text", "text")}
    others = [dialogue for name in ("see", "count", "talk", "mind") for _, dialogue in all_of(script, name)]
    assert 20 < len(found) <= len(others)
    assert {said[-1].item.id for said in found} <= {said[-1].item.id for said in others} | {"lines/word/no"}


@pytest.mark.parametrize("name", DIALOGUES)
def test_wordings_kept_for_testing_are_asked_of_held_out_items_alone(script: Script, name: str) -> None:
    for item, dialogue in all_of(script, name):
        asked = [said.item for said in dialogue if said.role == "user" and said.item.source == "lines"]
        assert {one.split == "train" for one in asked} == {item.split == "train"}


def test_sums_are_answered_with_their_result(script: Script) -> None:
    values = {texts["en"]: number for number, texts in numbers().items()}
    checked = 0
    for _, dialogue in all_of(script, "count"):
        match = re.fullmatch(r"What is (\w+) (plus|minus) (\w+)\?", written(dialogue, "user")[-1])
        if match:
            a, sign, b = match.groups()
            result = values[a] + values[b] if sign == "plus" else values[a] - values[b]
            assert values[written(dialogue, "assistant")[0]] == result
            checked += 1
    assert checked > 100


def test_kinds_are_told_by_the_folder(script: Script) -> None:
    yes, no = (table()["words"][word] for word in ("yes", "no"))
    asked = set(table()["ask"]["animal"]["en"])
    answers = {
        (item.id.split("/")[1] == "animals", written(dialogue, "assistant")[0])
        for item, dialogue in all_of(script, "see")
        if written(dialogue, "user")[-1] in asked
    }
    assert answers <= {(True, yes["en"]), (False, no["en"])} and answers


def test_a_translation_is_in_the_language_that_was_named(script: Script) -> None:
    checked = 0
    for item, dialogue in all_of(script, "see"):
        match = re.fullmatch(r"(?:How do you say it|What is it called) in (\w+)\?", written(dialogue, "user")[-1])
        if match:
            language = {"French": "fr", "Spanish": "es"}[match[1]]
            assert written(dialogue, "assistant")[0] == item.texts[language]
            checked += 1
    assert checked


def test_what_is_refused_and_what_is_not_come_with_the_same_things(script: Script) -> None:
    refusals = {text for row in table()["refuse"].values() for key, text in _answers(row)}
    counts = {"refused": 0, "answered": 0}
    for _, dialogue in all_of(script, "mind"):
        refused = written(dialogue, "assistant")[0] in refusals
        counts["refused" if refused else "answered"] += 1
    assert 0.7 < counts["refused"] / counts["answered"] < 1.4


def _answers(row: dict[str, object]) -> list[tuple[str, str]]:
    return [(key, value[1]) for key, value in row.items() if isinstance(value, list)]


def test_people_are_asked_about_in_emoji_too(script: Script) -> None:
    texts = {"en": "woman scientist", "fr": "scientifique", "es": "científica"}
    woman = Item("emoji/1f469-200d-1f52c", "emoji", "train", texts, {}, (0,), (), "", "")
    assert shows_person(woman) and concerns("mind", woman)
    asked = [dialogue[1].item.id.split("/")[1] for dialogue in mind(script, woman)]
    assert asked.count("refuse") == asked.count("comply") == 4
    for name in ("1f44b", "1f989", "23-20e3", "1f9e0"):                 # a hand, an owl, a key, a brain
        other = replace(woman, id=f"emoji/{name}")
        assert not shows_person(other) and not concerns("mind", other) and not list(mind(script, other))
