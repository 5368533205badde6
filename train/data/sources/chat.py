"""A row of any source as a conversation: messages in the chat format of OpenAI, or a text with what it is about."""

from collections.abc import Mapping
from typing import Any

from omni.decode.parts import Audio, Part, Picture, Text
from omni.train.data.sources.record import BadRecordError, Files, Record, decoded

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
MESSAGES = "messages"
TEXTS = ("text", "caption", "transcription", "transcript", "sentence")
IMAGES = ("image", "picture")
AUDIOS = ("audio", "sound")
COLUMNS = (MESSAGES, *TEXTS, *IMAGES, *AUDIOS)
TAGS = ("language", "voice")                                            # of what the assistant says in a row


def record_of(where: str, row: Any, files: Files) -> Record:
    """The conversation in a row, and in which language (`en`, also where it says en_US) and voice the assistant speaks.

    Raises BadRecordError.
    """
    parts = parts_of(row, files)
    language, voice = (row.get(name) if isinstance(row.get(name), str) else None for name in TAGS)
    return Record(where, parts, language and language.replace("_", "-").partition("-")[0].lower(), voice)


def parts_of(row: Any, files: Files) -> list[Part]:
    """The conversation in a row. Raises BadRecordError.

    {"messages": [..]}, or {"text": .., "image": .., "audio": ..} under the names above: what is seen and heard is
    given, the text is the assistant's answer; a text alone is all said by the assistant.
    """
    if not isinstance(row, Mapping):
        raise BadRecordError("not an object with the key `messages`")
    if row.get(MESSAGES) is not None:
        return conversation(row[MESSAGES], files)
    texts = [row[name] for name in TEXTS if isinstance(row.get(name), str) and row[name].strip()]
    if not texts:
        raise BadRecordError(f"has neither `messages` nor a text ({', '.join(TEXTS)})")
    given: list[Part] = [Picture(files.path(row[name])) for name in IMAGES if row.get(name) is not None]
    given += [Audio(files.path(row[name])) for name in AUDIOS if row.get(name) is not None]
    return [*given, Text(texts[0], "assistant")]


def conversation(messages: Any, files: Files) -> list[Part]:
    """Messages [{"role": .., "content": ..}, ..], in which the assistant speaks, as parts. Raises BadRecordError."""
    if not isinstance(messages, list) or not messages:
        raise BadRecordError("`messages` is not a list of messages")
    parts = said(messages, files)
    if not any(part.role == "assistant" for part in parts):
        raise BadRecordError("the assistant says nothing, so there is nothing to learn")
    return parts


def said(messages: list[Any], files: Files) -> list[Part]:
    """Any messages as parts. Raises BadRecordError."""
    parts: list[Part] = []
    for number, message in enumerate(messages, start=1):
        try:
            parts += _message(message, files)
        except BadRecordError as error:
            raise BadRecordError(f"message {number}: {error}") from None
    return parts


def _message(message: Any, files: Files) -> list[Part]:
    if not isinstance(message, Mapping):
        raise BadRecordError("not an object with `role` and `content`")
    role = ROLES.get(str(message.get("role")))
    if role is None:
        raise BadRecordError(f"role {message.get('role')!r} is not one of {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise BadRecordError("`content` is neither a text nor a list of parts")
    parts = [part for value in content if (part := _part(value, role, files)) is not None]
    if not parts and role != "system":                                  # an empty system prompt is a common habit
        raise BadRecordError("says nothing")
    return parts


def _part(value: Any, role: str, files: Files) -> Part | None:
    """One part of a message, None for an empty text."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        if not isinstance(value.get("text"), str):
            raise BadRecordError("a part of type text without a text")
        return Text(value["text"], role) if value["text"] else None
    if kind in ("input_audio", "audio"):
        inner = value.get(kind) if value.get(kind) is not None else value
        if isinstance(inner, Mapping) and inner.get("data") is not None:
            return Audio(files.file(decoded(inner["data"])), role=role)
        return Audio(files.path(inner), role=role)
    if kind in ("image_url", "image"):
        inner = value.get(kind) if value.get(kind) is not None else value
        address = inner.get("url") if isinstance(inner, Mapping) else None
        return Picture(files.path(address or inner), role)
    raise BadRecordError(f"a part of type {kind!r}; known are text, input_audio, audio, image and image_url")
