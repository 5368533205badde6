"""Inspect's messages as parts of a conversation with one of our models, and our answers as its messages."""

import base64
import binascii
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentAudio,
    ContentImage,
    ContentText,
    ContentVideo,
)
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from omni.decode.answer import Answer
from omni.decode.parts import Audio, Part, Picture, Text, Video
from omni.errors import InputError
from omni.files import atomic_path

INSTRUCTION = "instruction"                                             # `internal` of a text that our tags say already
_DATA = re.compile(r"data:(?P<kind>[\w.+/-]+);base64,(?P<content>.*)", re.DOTALL)


def instruction(text: str) -> ContentText:
    """What is to be done, for models that are told in words; ours are told by their tags and are not shown it."""
    return ContentText(text=text, internal=INSTRUCTION)


def sound(wave: NDArray[np.float32], sample_rate: int, **internal: Any) -> ContentAudio:
    """Mono samples [samples] in -1..1 as a WAV of 16 bits in a data URI."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return ContentAudio(audio=_uri("audio/wav", file.getvalue()), format="wav", internal=internal or None)


def picture(pixels: NDArray[np.uint8], **internal: Any) -> ContentImage:
    """Pixels [height, width, 3] as a PNG in a data URI."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return ContentImage(image=_uri("image/png", file.getvalue()), internal=internal or None)


def animation(frames: Sequence[NDArray[np.uint8]], frame_rate: float) -> ContentImage:
    """Frames [height, width, 3] as an animated PNG in a data URI: no loss, and no codec that might be missing."""
    file, images = io.BytesIO(), [Image.fromarray(frame) for frame in frames]
    duration = 1000 / frame_rate
    images[0].save(file, "PNG", save_all=True, append_images=images[1:], duration=duration)
    return ContentImage(image=_uri("image/png", file.getvalue()))


def read_sound(content: ContentAudio) -> tuple[NDArray[np.float32], int]:
    """Mono samples [samples] and their rate. Raises InputError for what is no recording."""
    try:
        wave, rate = soundfile.read(io.BytesIO(_bytes(content.audio)), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{_short(content.audio)}: not audio that can be read ({error}); give WAV or MP3") from None
    return np.asarray(wave.mean(axis=1), np.float32), int(rate)


def read_picture(content: ContentImage) -> NDArray[np.uint8]:
    """Pixels [height, width, 3]. Raises InputError for what is no picture."""
    with _opened(content) as image:
        return np.asarray(image.convert("RGB"))


def frames(content: ContentImage) -> int:
    """How many pictures there are in one: more than one where it moves. Raises InputError for what is no picture."""
    with _opened(content) as image:
        return int(getattr(image, "n_frames", 1))


def parts(messages: Sequence[ChatMessage], scratch: Path) -> tuple[Part, ...]:
    """What a conversation hands to a model, instructions left out; `scratch` is a folder for what is read as files.

    Raises InputError for contents that our models have no modality for, or that cannot be read.
    """
    return tuple(
        _part(content, message.role, scratch)
        for message in messages
        for content in ([ContentText(text=message.content)] if isinstance(message.content, str) else message.content)
        if content.internal != INSTRUCTION
    )


def answered(answer: Answer, model: str, **internal: Any) -> ChatMessageAssistant:
    """An answer as a message; `internal` of each content holds its codes, which are the model's own words."""
    codes = {segment.modality: segment.codes.tolist() for segment in answer.segments}
    contents: list[Content] = []
    if answer.text is not None:
        contents.append(ContentText(text=answer.text, internal={"codes": codes["text"], **internal}))
    if answer.audio is not None:
        wave = answer.audio if len(answer.audio) else np.zeros(1, np.float32)  # nothing said
        contents.append(sound(wave, answer.sample_rate, codes=codes["audio"], **internal))
    if answer.image is not None:
        contents.append(picture(answer.image, codes=codes["image"], **internal))
    return ChatMessageAssistant(content=contents, model=model, source="generate")


def _part(content: Content, role: str, scratch: Path) -> Part:
    if isinstance(content, ContentText):
        return Text(content.text, role)
    if isinstance(content, ContentAudio):
        return Audio(*read_sound(content), role)
    if isinstance(content, ContentImage):
        with _opened(content) as image:
            if getattr(image, "n_frames", 1) == 1:
                return Picture(np.asarray(image.convert("RGB")), role)
        return Video(_file(content.image, scratch, ".png"), role=role)
    if isinstance(content, ContentVideo):
        return Video(_file(content.video, scratch, f".{content.format}"), role=role)
    raise InputError(f"{content.type}: our models take text, audio, images and video; leave it out")


def _opened(content: ContentImage) -> Image.Image:
    try:
        return Image.open(io.BytesIO(_bytes(content.image)))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{_short(content.image)}: not a picture that can be read ({error})") from None


def _bytes(source: str) -> bytes:
    """What a data URI or a path holds. Addresses are not followed: an evaluation runs without a network."""
    if found := _DATA.fullmatch(source):
        try:
            return base64.b64decode(found["content"], validate=True)
        except binascii.Error as error:
            raise InputError(f"{_short(source)}: not base64 ({error})") from None
    if "://" in source:
        raise InputError(f"{_short(source)}: addresses are not followed; give a file or a data URI")
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from None


def _file(source: str, scratch: Path, suffix: str) -> Path:
    if not source.startswith("data:"):
        return Path(source)
    content = _bytes(source)
    path = scratch / f"{abs(hash(content)):x}{suffix}"
    if not path.exists():
        with atomic_path(path) as made:
            made.write_bytes(content)
    return path


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _short(source: str) -> str:
    return source if len(source) <= 60 else source[:57] + "..."
