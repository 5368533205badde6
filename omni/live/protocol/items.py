"""Items of a conversation as the protocol writes them, and what the model is told of them."""

import base64
import binascii
import io
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni.decode.parts import Audio, Part, Picture, Text
from omni.errors import InputError
from omni.live.hearing.pcm import RATE, RATES, from_base64
from omni.live.protocol import tools
from omni.live.protocol.events import TOO_LONG, Event, RefusedError, fresh
from omni.live.protocol.history import History, unknown
from omni.live.protocol.settings import Settings

LARGEST_PICTURE = 10 << 20                                              # bytes
MOST_PIXELS = 50_000_000
SIDE = 512                                                              # of what the model is given: it looks at less
LONGEST_RECORDING = 120                                                 # seconds of one input_audio part


def parts(item: Event, settings: Settings, where: str = "item") -> tuple[Part, ...]:
    """What the model gets of an item; settings: of its session; where: it stands in its event.

    Raises RefusedError for what it cannot get.
    """
    found = _parts(item, settings.input_format, where)
    _check_room(found, settings, where)
    return found


def _check_room(said: Iterable[Part | str], settings: Settings, where: str) -> None:
    """Raise RefusedError for more text than the model can be given at once."""
    if why := settings.facts.too_long("".join(part.text for part in said if isinstance(part, Text))):
        raise RefusedError(why, TOO_LONG, where)


def _parts(item: Event, encoding: str, where: str) -> tuple[Part, ...]:
    kind = item["type"]
    if kind == "function_call":
        return (Text(tools.written(item["name"], item["arguments"]), "assistant"),)
    if kind == "function_call_output":
        return (Text(str(item["output"])),)
    if kind != "message":
        raise RefusedError(f"{kind} items are not supported; use message, function_call or function_call_output")
    role, content = item["role"], item["content"]
    found = [_part(part, role, encoding, f"{where}.content.{index}") for index, part in enumerate(content)]
    if not any(found):
        raise RefusedError("the item says nothing; give it at least one content part", param=f"{where}.content")
    return tuple(part for part in found if part is not None)


def given(said: list[Event] | None, history: History, settings: Settings) -> tuple[Part | str, ...] | None:
    """What a response is to answer instead of the conversation: parts, and ids of items. Raises RefusedError."""
    if said is None:
        return None
    found: list[Part | str] = []
    for index, item in enumerate(said):
        if item["type"] != "item_reference":
            found += parts(item, settings, f"response.input.{index}")
        elif item["id"] in history:
            found.append(item["id"])
        else:
            raise unknown(item["id"], f"response.input.{index}.id")
    _check_room(found, settings, "response.input")
    return tuple(found)


def seconds(said: Iterable[Part | str] | None) -> float:
    """Of the recordings among these parts."""
    heard = (part for part in said or () if isinstance(part, Audio))
    return sum(len(np.asarray(part.source)) / (part.sample_rate or RATE) for part in heard)


def known(item: Event) -> Event:
    """An item as it is told to clients: with an id and a status, without sound and pictures, which are not kept."""
    left_out = ("audio", "image_url")
    kept = [{name: part[name] for name in part if name not in left_out} for part in item.get("content", [])]
    whole = {**item, "id": item.get("id") or fresh("item"), "object": "realtime.item", "status": "completed"}
    return {**whole, "content": kept} if "content" in item else whole


def user_audio(name: str, transcript: str | None = None) -> Event:
    """What the user said into the microphone."""
    content = [{"type": "input_audio", "transcript": transcript}]
    return {
        "id": name, "object": "realtime.item", "type": "message", "status": "completed", "role": "user",
        "content": content,
    }  # fmt: skip


def assistant(name: str, status: str, content: list[Event]) -> Event:
    """What the assistant said."""
    return {
        "id": name, "object": "realtime.item", "type": "message", "status": status, "role": "assistant",
        "content": content,
    }  # fmt: skip


def unwritten() -> list[Event]:
    """The content of an answer that was not heard whole: where its transcript would end nobody knows."""
    return [{"type": "output_audio", "transcript": None}]


def picture(url: str, where: str) -> NDArray[np.uint8]:
    """Pixels [height, width, 3] of a data URL, `SIDE` of them a side at most.

    Raises RefusedError for another URL and for what is no picture.
    """
    from PIL import Image

    from omni.tokenizers.image.pixels import decoding, on_white

    head, _, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise RefusedError("give the picture itself as data:image/png;base64,…; nothing is fetched", param=where)
    if len(data) > LARGEST_PICTURE * 4 / 3:
        raise RefusedError(f"the picture is larger than {LARGEST_PICTURE >> 20} MiB; make it smaller", param=where)
    try:
        file = io.BytesIO(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        raise RefusedError("the picture is not base64; encode the bytes of a PNG or JPEG", param=where) from None

    def read() -> NDArray[np.uint8]:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise RefusedError(f"the picture has more than {MOST_PIXELS / 1e6:.0f} million pixels", param=where)
            if max(image.size) <= SIDE:
                return np.asarray(on_white(image))
            whole = image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA")
            whole.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)     # a JPEG is not even decoded at full size
            return np.asarray(on_white(whole))

    try:
        return decoding(where, read)
    except InputError as error:
        raise RefusedError(str(error), param=where) from None


def with_small_pictures(text: str) -> str:
    """A client's event with its pictures no larger than `picture` makes them; what is wrong stays as it is.

    It may take a second, so that it is done aside: a session waits for nothing.
    """
    from PIL import Image

    def small(part: Any) -> Any:
        if isinstance(part, list):
            return [small(each) for each in part]
        if not isinstance(part, dict):
            return part
        if part.get("type") != "input_image":
            return {name: small(each) for name, each in part.items()}
        file = io.BytesIO()
        Image.fromarray(picture(part["image_url"], "")).save(file, "PNG", compress_level=1)
        return {**part, "image_url": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"}

    try:
        return json.dumps(small(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RefusedError):
        return text


def recording(text: str, encoding: str, where: str) -> Part:
    """Base64 audio of a session as a part. Raises RefusedError."""
    try:
        wave = from_base64(text, encoding)
    except InputError as error:
        raise RefusedError(str(error), param=where) from None
    if not 0 < len(wave) <= LONGEST_RECORDING * RATES[encoding]:
        raise RefusedError(f"give between one sample and {LONGEST_RECORDING} seconds of audio", param=where)
    return Audio(wave, RATES[encoding])


def _part(part: Event, role: str, encoding: str, where: str) -> Part | None:
    kind = part.get("type")
    text = part.get("text") or part.get("transcript")
    if role == "user" and kind == "input_audio":
        return recording(part.get("audio") or "", encoding, f"{where}.audio")
    if role == "user" and kind == "input_image":
        return Picture(picture(part.get("image_url") or "", f"{where}.image_url"))
    allowed = {"user": ("input_text",), "system": ("input_text",), "assistant": ("output_text", "output_audio")}[role]
    if kind is not None and kind not in allowed:
        raise RefusedError(f"an item of the {role} holds {' or '.join(allowed)}, not {kind}", param=f"{where}.type")
    return Text(text, role) if text else None
