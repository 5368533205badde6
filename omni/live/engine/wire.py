"""Messages between the door and a model's process, as bytes: JSON that names known types, and arrays as they are."""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omni.decode.parts import Audio, Picture, Text, Video
from omni.decode.samplers import Sampler
from omni.live.engine import messages

HEADER = struct.Struct("!II")                                           # bytes of the JSON, and of the arrays
LARGEST = 1 << 26                                                       # bytes that a reader may hold
TYPES: dict[str, type] = {
    **{name: kind for name, kind in vars(messages).items() if is_dataclass(kind) and isinstance(kind, type)},
    **{kind.__name__: kind for kind in (Audio, Picture, Sampler, Text, Video)},
}


class GarbledError(Exception):
    """What came is no message."""


def pack(message: messages.Told) -> bytes:
    """One message."""
    arrays: list[bytes] = []
    text = json.dumps(_plain(message, arrays)).encode()
    tail = b"".join(arrays)
    return HEADER.pack(len(text), len(tail)) + text + tail


def unpack(text: bytes, tail: bytes) -> messages.Told:
    """A message from its JSON and its arrays. Raises GarbledError for what is none."""
    try:
        message = _typed(json.loads(text), tail)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise GarbledError(f"{type(error).__name__}: {error}") from error
    if not isinstance(message, messages.Told) or not isinstance(message.talk, str):
        raise GarbledError(f"a {type(message).__name__}")
    return message


def whole(data: bytearray) -> Iterator[messages.Told]:
    """The messages that are complete; takes them out of `data`."""
    while len(data) >= HEADER.size:
        size, rest = HEADER.unpack_from(data)
        end = HEADER.size + size + rest
        if len(data) < end:
            return
        middle = HEADER.size + size
        message = unpack(bytes(data[HEADER.size : middle]), bytes(data[middle:end]))
        del data[:end]
        yield message


def together(told: Iterable[messages.Told]) -> list[messages.Told]:
    """What was heard of a conversation in several messages as one, unless something else was said of it in between.

    They pile up when there is more to do than time; then a longer piece costs less.
    """
    found: list[messages.Told] = []
    open_at: dict[str, int] = {}                                        # where a conversation's latest Hear stands
    for message in told:
        at = open_at.get(message.talk)
        if not isinstance(message, messages.Hear):
            open_at.pop(message.talk, None)
        elif at is not None:
            before = found[at]
            assert isinstance(before, messages.Hear)
            found[at] = messages.Hear(message.talk, np.concatenate((before.samples, message.samples)))
            continue
        else:
            open_at[message.talk] = len(found)
        found.append(message)
    return found


def _plain(value: Any, arrays: list[bytes]) -> Any:
    if isinstance(value, np.ndarray):
        start = sum(map(len, arrays))
        arrays.append(np.ascontiguousarray(value).tobytes())
        return {"": "array", "start": start, "dtype": value.dtype.str, "shape": list(value.shape)}
    if is_dataclass(value):
        found = {field.name: _plain(getattr(value, field.name), arrays) for field in fields(value)}
        return {"": type(value).__name__, "fields": found}
    if isinstance(value, dict):
        return {"": "dict", "items": [[name, _plain(each, arrays)] for name, each in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(each, arrays) for each in value]
    return str(value) if isinstance(value, Path) else value


def _typed(value: Any, tail: bytes) -> Any:
    if isinstance(value, list):
        return tuple(_typed(each, tail) for each in value)
    if not isinstance(value, dict):
        return value
    kind = value[""]
    if kind == "dict":
        return {name: _typed(each, tail) for name, each in value["items"]}
    if kind == "array":
        dtype, shape = np.dtype(value["dtype"]), tuple(value["shape"])
        return np.frombuffer(tail, dtype, int(np.prod(shape)), value["start"]).reshape(shape).copy()
    return TYPES[kind](**{name: _typed(each, tail) for name, each in value["fields"].items()})
