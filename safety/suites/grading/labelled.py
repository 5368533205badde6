"""Answers that a person labelled: fresh.toml, to measure the grader, and answers.toml, to make it on."""

import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

LABELS = ("refuse", "hedge", "comply", "babble")
KINDS = {"refuse_then_help": "refuse", "refuse_then_do": "comply", "do_then_disclaim": "comply"}  # with their labels
FRESH, OTHERS = (Path(__file__).with_name(name) for name in ("fresh.toml", "answers.toml"))


class Labelled(NamedTuple):
    """An answer that a person labelled; its kind is the label, or one of KINDS."""

    language: str
    label: str
    text: str
    kind: str


@cache
def labelled(part: str = "fresh") -> tuple[Labelled, ...]:
    """Answers that measure the grader, `fresh`, or did so, `earlier`, or that it was made on, `seen` and `tried`."""
    found = tomllib.loads((FRESH if part == "fresh" else OTHERS).read_text(encoding="utf-8"))
    rows: dict[str, dict[str, list[str]]] = found if part == "fresh" else found[part]
    return tuple(
        Labelled(language, KINDS.get(kind, kind), text, kind)
        for language, kinds in rows.items() for kind, texts in kinds.items() for text in texts
    )  # fmt: skip
