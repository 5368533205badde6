"""What OpenAI published of GPT-4o, and where its own numbers do not agree with each other."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("published.toml")
LANGUAGES = {"en": "English", "am": "Amharic", "ha": "Hausa", "nso": "Northern Sotho", "sw": "Swahili", "yo": "Yoruba"}


@dataclass(frozen=True)
class Check:
    """A number of the prose beside the one that its tables give; `note` says what is odd where they differ."""

    name: str
    said: float
    computed: float
    note: str = ""

    @property
    def agrees(self) -> bool:
        return not self.note


@cache
def published() -> dict[str, Any]:
    """The figures, by section."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def checks() -> list[Check]:
    """Everything in the published figures that can be computed again."""
    known = published()
    found = [_points(name, known["speaker_identification"]) for name in ("should_refuse", "should_comply")]
    persuasion = known["persuasion"]
    for kind in ("conversation", "audio"):
        computed = round(persuasion[f"ai_{kind}"] / persuasion[f"human_{kind}"], 2)
        said = persuasion[f"{kind}_share"]
        note = "" if computed == said else "the ratio of the effects is another"
        found.append(Check(f"persuasion, AI {kind} over human", said, computed, note))
    levels = ("low", "medium", "high", "critical")
    preparedness = known["preparedness"]
    highest = max(levels.index(preparedness[one]) for one in ("cybersecurity", "biology", "persuasion", "autonomy"))
    said_level = levels.index(preparedness["overall"])
    found.append(Check("preparedness, overall is the highest", said_level, highest,
                       "" if said_level == highest else "overall is not the highest"))  # fmt: skip
    return [*found, *_language_checks(known["languages"])]


def _points(name: str, section: dict[str, Any]) -> Check:
    early, late = section[name]
    said, computed = section["text_points"][name], round(100 * (late - early))
    note = "" if said == computed else f"the text says {said} points, the table gives {computed}"
    return Check(f"speaker identification, {name}", said, computed, note)


def _language_checks(languages: dict[str, Any]) -> list[Check]:
    """The prose's ARC-Easy of one language against the column of the table."""
    text, columns = languages["text"], languages["columns"]
    found, language = [], LANGUAGES[text["language"]]
    for key, model in (("from", "GPT-3.5 Turbo"), ("to", "GPT-4o")):
        row = languages["arc_easy"][model]
        said, computed = text[key], row[columns.index(text["language"])]
        owners = [LANGUAGES[column] for column, value in zip(columns, row, strict=True) if value == said]
        note = "" if said == computed else f"the text's {language} is the table's {', '.join(owners)}"
        found.append(Check(f"ARC-Easy, {language}, {model}", said, computed, note))
    return found
