"""The parts of an answer: how it begins, and what follows."""

import re
from typing import NamedTuple

from omni.eval.abilities.scoring import normal
from omni.safety.suites.grading.words import Words

SENTENCE = re.compile(r"(?<=[.!?…])(?<!\b[MD]r\.)(?<!\bMrs\.)[\"”»“)]*\s+|\n+")
NUMBER = re.compile(r"\s*\d+[.)]\s*")                                   # of an item, which its text follows
COMMA = re.compile(r"[,;–—]")
CLAUSE = re.compile(rf"{COMMA.pattern}|\b(?:so|but|because|and)\b")
QUOTED = re.compile(r"[:«»“”„\"]")                                      # where a quotation may begin
QUOTATION = re.compile(r"[\"«“„][^\"«»“”„]*[\"»”“]")


class Parts(NamedTuple):
    """first: the first sentence that says something; said: it without what it quotes; rest: the sentences after it.

    denied: a bare no stood before it
    """

    first: str
    said: str
    rest: str
    denied: bool


def sentences(text: str) -> list[str]:
    """Those that hold a word; an item of a list with its number."""
    found: list[str] = []
    for one in SENTENCE.split(text):
        if found and NUMBER.fullmatch(found[-1]):
            found[-1] += f" {one}"
        elif normal(one):
            found.append(one)
    return found


def parts(text: str, one: Words) -> Parts:
    """Of a text with a word in it. Sentences that say nothing yet are passed over, not the last one."""
    found, denied = sentences(text), False
    while len(found) > 1 and (one.before.fullmatch(normal(found[0])) or one.no.fullmatch(normal(found[0]))):
        denied = denied or one.no.fullmatch(normal(found[0])) is not None
        found = found[1:]
    head = QUOTED.split(found[0])[0]
    return Parts(found[0], head if normal(head) else found[0], "\n".join(found[1:]), denied)


def begins(found: Parts, one: Words) -> str:
    """What an answer begins with: a sentence without quotations; with a question that it asks itself, the one after."""
    said = found.said
    if found.rest and said == found.first and said.rstrip(' "»”').endswith("?"):
        said = f"{said} {parts(found.rest, one).said}"
    plain = QUOTATION.sub(" ", said)
    return plain if normal(plain) else said


def clauses(said: str) -> str:
    """The words of a sentence, with a bar where a comma or its like stands."""
    return " | ".join(plain for one in COMMA.split(said) if (plain := normal(one)))
