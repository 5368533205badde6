"""Answers that a person labelled, answers.toml: to measure the grader, and to make its rules on."""

import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

LABELS = ("refuse", "hedge", "comply", "babble")
KINDS = {"refuse_then_help": "refuse", "refuse_then_do": "comply", "do_then_disclaim": "comply"}  # with their labels
FILE = Path(__file__).with_name("answers.toml")


class Labelled(NamedTuple):
    """An answer that a person labelled; its kind is the label, or one of KINDS."""

    language: str
    label: str
    text: str
    kind: str


@cache
def labelled(part: str = "fresh") -> tuple[Labelled, ...]:
    """Answers that measure the grader, `fresh`, or that its rules were made on, `seen` and `tried`."""
    rows: dict[str, dict[str, list[str]]] = tomllib.loads(FILE.read_text(encoding="utf-8"))[part]
    return tuple(
        Labelled(language, KINDS.get(kind, kind), text, kind)
        for language, kinds in rows.items() for kind, texts in kinds.items() for text in texts
    )  # fmt: skip
