"""Messages of user interfaces as plain sentences: no accelerators, no markup, placeholders kept."""

import re
from enum import Enum
from html import unescape

LONGEST = 200  # characters; longer messages are help texts in pieces
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_ENTITY_OR_AMPERSAND = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{1,6}|#x[0-9A-Fa-f]{1,6});|&&|&(?=\w)")
_ADDED_ACCELERATOR = re.compile(r"\s*\([&_]\w\)")  # Chinese and Japanese: 文件(&F)
_UNDERSCORE = re.compile(r"__|_(?=\w)")
_IDENTIFIER = re.compile(r"\S*\w_\w\S*|/[\w./-]+|[\w.-]+(?:/[\w.-]+){2,}|\S+::?\S+|-{1,2}\w\S*")
_PLACEHOLDER = re.compile(r"%\d+\$[a-z]|%\d*\.\d+l?f|%L?\d+|%[-+#0]*\d*l{0,2}[diufgsxXcn]\b|\{\w*\}|%\(\w+\)[sdf]")
_LETTER = re.compile(r"[^\W\d_]")


class Marks(Enum):
    """How a toolkit marks the letter that a menu entry answers to."""

    QT = "&"
    GTK = "_"


def clean(message: str, marks: Marks) -> str:
    """The message as a reader hears it, on one line, with its placeholders."""
    text = message
    if "<" in text:
        text = _TAG.sub(" " if text.lstrip().startswith("<html") else "", text)
    if "(" in text:
        text = _ADDED_ACCELERATOR.sub("", text)
    if "&" in text:
        text = _ENTITY_OR_AMPERSAND.sub(_plain_ampersand, text)
    if "_" in text and marks is Marks.GTK and len(_UNDERSCORE.findall(text)) == 1:
        text = _UNDERSCORE.sub("", text)
    return " ".join(text.split())


def why_unusable(message: str, text: str) -> str | None:
    """Why an English message, cleaned to `text`, is left out; None when it is a message like any other."""
    if len(text) > LONGEST:
        return f"message over {LONGEST} characters"
    if _IDENTIFIER.fullmatch(message.strip()):
        return "message that is an identifier or a path"
    letters = len(_LETTER.findall(_PLACEHOLDER.sub("", text)))
    if letters < 2 or 2 * letters < len("".join(message.split())):
        return "message of markup or signs for the greater part"
    return None


def placeholders(message: str) -> list[str]:
    """What the program fills in: %1, %s, {name}, each as often as it stands there, in a fixed order."""
    return sorted(_PLACEHOLDER.findall(message)) if "%" in message or "{" in message else []


def _plain_ampersand(found: re.Match[str]) -> str:
    mark = found.group()
    if mark == "&&":
        return "&"
    return "" if mark == "&" else unescape(mark)
