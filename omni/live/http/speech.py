"""/v1/audio/speech, /v1/audio/transcriptions and /v1/images/generations."""

import asyncio
import base64
import io
import secrets
import time
import zlib
from collections.abc import AsyncIterator

import numpy as np
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from omni.decode.parts import Audio, Text
from omni.live.engine import messages
from omni.live.engine.messages import Ask
from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.http import sound
from omni.live.http.asking import (
    Known,
    RefusedRequestError,
    answer,
    begun,
    bounded,
    flag,
    json_body,
    sending,
    transcribing,
    watched,
    within,
    words,
)
from omni.live.http.examiner import Examiner
from omni.live.protocol.events import transcription_usage
from omni.live.protocol.settings import LONGEST_ANSWER

LONGEST_INPUT = 4096                                                    # characters, as OpenAI's endpoints have it
FASTEST, SLOWEST = 25, 5                                                # letters said in a second, at most and least
LARGEST_UPLOAD = 25 << 20                                               # bytes, likewise
UNKNOWN = "und"                                                         # ISO 639-2 for a language that nobody named
PICTURES = ("png", "jpeg", "webp")                                      # files that pictures come as


class Sounds:
    """The endpoints."""

    def __init__(self, pool: Pool, guards: Guards | None) -> None:
        self.pool, self.guards, self.known = pool, guards, Known(pool)
        self.examine = Examiner(pool, guards)

    async def speak(self, request: Request) -> Response:
        """Text to speech in one of the model's own voices."""
        body = await json_body(request, self.known, "input")
        text = body.get("input")
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_INPUT:
            raise RefusedRequestError(f"input must be a text of 1 to {LONGEST_INPUT} characters", param="input")
        if len(text) > FASTEST * LONGEST_ANSWER:
            raise _too_long(text)
        if within(body, "speed", 1.0, 0.25, 4.0) != 1.0:
            raise RefusedRequestError("this model speaks at its own speed; leave speed out", param="speed")
        kind = sound.kind_of(body.get("response_format"), "mp3", "response_format")
        streamed = words(body, "stream_format", "audio")
        if streamed not in ("audio", "sse"):
            raise RefusedRequestError(f"stream_format {streamed!r}: use audio or sse", param="stream_format")
        for name in ("model", "instructions"):                          # which clients send by default
            words(body, name)
        voice, language = self.known.voice(body.get("voice"), "voice"), self.known.language(body.get("language"))
        await self.examine((Text(text),), language, request.state.key)
        ask = Ask(("audio",), {"voice": voice, "language": language, "max_seconds": LONGEST_ANSWER})
        said = _said(text, watched(answer(self.pool, (Text(text),), ask, "input"), self.guards, voice, self.known.rate))
        file = self._file(await begun(said), kind)
        if streamed == "sse":
            return StreamingResponse(sending(_deltas(file)), media_type="text/event-stream")
        pieces = (piece async for piece in file if isinstance(piece, bytes))
        if sound.streamer(kind, self.known.rate) is not None:
            return StreamingResponse(pieces, media_type=sound.MEDIA[kind])
        return Response(b"".join([piece async for piece in pieces]), media_type=sound.MEDIA[kind])

    async def _file(
        self, said: AsyncIterator[messages.Told], kind: str
    ) -> AsyncIterator[bytes | messages.Ended]:  # fmt: skip
        """What is said as a file, piece by piece where its kind allows that; last `Ended`."""
        write, waves = sound.streamer(kind, self.known.rate), []
        if kind == "wav":
            yield sound.header(self.known.rate)
        async for message in said:
            if isinstance(message, messages.Said) and message.audio is not None:
                if write is not None:
                    yield write(message.audio)
                else:
                    waves.append(message.audio)
            elif isinstance(message, messages.Ended):
                if write is None:
                    wave = np.concatenate(waves) if waves else np.zeros(1, np.float32)
                    yield await asyncio.to_thread(sound.encoded, wave, self.known.rate, kind)
                yield message

    async def transcribe(self, request: Request) -> Response:
        """Speech to text."""
        async with bounded(request, LARGEST_UPLOAD).form() as form:
            file, language = form.get("file"), form.get("language")
            if not isinstance(file, UploadFile):
                raise RefusedRequestError("send the recording as the form's field file", param="file")
            wave = await asyncio.to_thread(sound.decoded, await file.read(), self.known.rate, "file")
            shape = words(form, "response_format") or "json"
            streamed = words(form, "stream").lower()
            for name in ("model", "prompt"):
                words(form, name)
            _check_transcribable(form)
        if streamed not in ("", "true", "false"):
            raise RefusedRequestError(f"stream {streamed!r}: use true or false", param="stream")
        if shape not in ("json", "text", "verbose_json"):
            message = f"response_format {shape!r}: use json, text or verbose_json"
            raise RefusedRequestError(message, param="response_format")
        known = self.known.language(language)
        said = transcribing(self.pool, Audio(wave, self.known.rate), known, "file")
        if streamed == "true":
            return StreamingResponse(sending(_transcript(await begun(said))), media_type="text/event-stream")
        text = "".join([one.text or "" async for one in said if isinstance(one, messages.Said)])
        if shape == "text":
            return PlainTextResponse(text + "\n")
        seconds = len(wave) / self.known.rate
        told: dict[str, object] = {"text": text, "usage": {"type": "duration", "seconds": max(1, round(seconds))}}
        if shape == "verbose_json":
            told |= {"duration": seconds, "language": known or UNKNOWN, "segments": [_segment(text, seconds)]}
        return JSONResponse(told)

    async def draw(self, request: Request) -> Response:
        """Text to pictures."""
        from PIL import Image

        body = await json_body(request, self.known, "prompt")
        text = body.get("prompt")
        if not isinstance(text, str) or not text:
            raise RefusedRequestError("prompt must be a text", param="prompt")
        if body.get("response_format") not in (None, "b64_json"):
            raise RefusedRequestError("pictures come as b64_json; there are no addresses", param="response_format")
        if flag(body, "stream"):
            raise RefusedRequestError("pictures come whole; leave stream out", param="stream")
        kind = words(body, "output_format", "png")
        if kind not in PICTURES:
            raise RefusedRequestError(f"output_format {kind!r}: use {', '.join(PICTURES)}", param="output_format")
        if words(body, "background") == "transparent":
            raise RefusedRequestError("pictures are opaque; leave background out", param="background")
        for name in ("model", "size", "quality"):                       # there is one of each
            words(body, name)
        self.known.check_room((Text(text),), "prompt")
        await self.examine((Text(text),), None, request.state.key)
        drawn = []
        for _ in range(within(body, "n", 1, 1, 10)):
            ask = Ask(("image",), {"seed": secrets.randbits(31)})
            async for message in answer(self.pool, (Text(text),), ask, "prompt"):
                if isinstance(message, messages.Said) and message.image is not None:
                    file = io.BytesIO()
                    Image.fromarray(message.image).save(file, kind)
                    drawn.append({"b64_json": base64.b64encode(file.getvalue()).decode()})
        return JSONResponse({"created": int(time.time()), "data": drawn, "output_format": kind})


async def _said(text: str, said: AsyncIterator[messages.Told]) -> AsyncIterator[messages.Told]:
    """The same messages. Raises RefusedRequestError where they end before all of the text can have been said."""
    async for message in said:
        if isinstance(message, messages.Ended) and message.cut and len(text) > SLOWEST * LONGEST_ANSWER:
            raise _too_long(text)
        yield message


def _check_transcribable(form: FormData) -> None:
    """Raise RefusedRequestError for wishes about a transcript that this server does not meet."""
    for name, what in (("timestamp_granularities", "times"), ("include", "logprobs")):
        for field in (name, f"{name}[]"):
            if field in form:
                raise RefusedRequestError(f"{what} of a transcript are not told; leave {name} out", param=name)
    try:
        wrong = not 0 <= float(words(form, "temperature", "0")) <= 1
    except ValueError:
        wrong = True
    if wrong:
        raise RefusedRequestError("temperature must be a number, 0 to 1", param="temperature")


def _segment(text: str, seconds: float) -> dict[str, object]:
    """The whole recording as the one segment of a verbose transcript: when in it something was said is not known."""
    written = text.encode()
    return {
        "id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": text, "tokens": [], "temperature": 0.0,
        "avg_logprob": 0.0, "no_speech_prob": 0.0 if written else 1.0,
        "compression_ratio": len(written) / len(zlib.compress(written)),  # as Whisper has it: a loop has much
    }  # fmt: skip


def _too_long(text: str) -> RefusedRequestError:
    seconds = f"{LONGEST_ANSWER:.0f} s, the longest that this server speaks"
    message = f"the text of {len(text)} characters takes longer to say than {seconds}; send it in pieces"
    return RefusedRequestError(message, param="input", code="input_too_long")


async def _deltas(file: AsyncIterator[bytes | messages.Ended]) -> AsyncIterator[dict[str, object]]:
    async for piece in file:
        if isinstance(piece, bytes):
            yield {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}
        else:
            given, taken = sum(piece.heard.values()), sum(piece.said.values())
            usage = {"input_tokens": given, "output_tokens": taken, "total_tokens": given + taken}
            yield {"type": "speech.audio.done", "usage": usage}


async def _transcript(said: AsyncIterator[messages.Told]) -> AsyncIterator[dict[str, object]]:
    text = ""
    async for message in said:
        if isinstance(message, messages.Said) and message.text:
            text += message.text
            yield {"type": "transcript.text.delta", "delta": message.text}
        elif isinstance(message, messages.Ended):
            usage = transcription_usage(sum(message.heard.values()), sum(message.said.values()))
            yield {"type": "transcript.text.done", "text": text, "usage": usage}
