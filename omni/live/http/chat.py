"""/v1/chat/completions: text, pictures and recordings in; text, speech or a call out, whole or streamed."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator
from itertools import groupby

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from omni.decode.parts import Part, Text
from omni.decode.samplers import Sampler
from omni.live.engine import messages
from omni.live.engine.messages import Ask
from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.http import sound
from omni.live.http.asking import (
    FilteredError,
    Known,
    RefusedRequestError,
    answer,
    begun,
    flag,
    json_body,
    sending,
    watched,
    within,
    words,
)
from omni.live.http.conversation import Body, Messages, check_answerable, functions_of, stopped, stops_of
from omni.live.http.examiner import Examiner
from omni.live.protocol import tools
from omni.live.protocol.events import Event, fresh
from omni.live.protocol.settings import LONGEST_ANSWER, LONGEST_TEXT

REFUSAL = "I can't help with that."                                     # of a guard


class Chat:
    """The endpoint."""

    def __init__(self, pool: Pool, guards: Guards | None) -> None:
        self.pool, self.guards, self.known = pool, guards, Known(pool)
        self.messages, self.examine = Messages(self.known), Examiner(pool, guards)

    async def __call__(self, request: Request) -> Response:
        body, key = await json_body(request, self.known, "messages"), request.state.key
        parts, system = await asyncio.to_thread(self.messages.read, body, key)  # it decodes pictures and sound
        check_answerable(body)
        ask, kind = self._ask(body)
        functions, told_of = functions_of(body)
        if (n := body.get("n")) is not None and (type(n) is not int or n != 1):  # True and 1.0 would equal it
            raise RefusedRequestError("one answer a request is given; leave n out, or make it 1", param="n")
        told_of = "\n".join(filter(None, (system, told_of)))
        self.known.check_room(parts, "messages")
        self.known.check_room((Text(told_of, "system"),), "messages")   # left out where both together have no room
        said = self._told(parts, ask, told_of, functions, stops_of(body), key)
        model = words(body, "model") or self.known.name
        shown = {"id": fresh("chatcmpl"), "created": int(time.time()), "model": model}
        if flag(body, "stream"):
            chunks = _done(sending(self._chunks(await begun(said), shown, body, key)))
            return StreamingResponse(chunks, media_type="text/event-stream")
        return JSONResponse(await self._whole(said, shown, kind, key))

    async def _told(
        self, parts: tuple[Part, ...], ask: Ask, system: str, functions: list[Event], stops: tuple[str, ...], key: str
    ) -> AsyncIterator["messages.Told | Event | FilteredError"]:
        """The answer piece by piece; last `Ended`, or why a guard lets it not be asked, or said any further."""
        try:
            kept = await self._examined(parts, ask.how["language"], key)
            told = answer(self.pool, kept, ask, "messages", system, tools.OPENING if functions else "")
            seen = watched(told, self.guards, ask.how.get("voice"), self.known.rate)
            async for message in tools.called(stopped(seen, stops), functions):
                yield message
        except FilteredError as error:
            yield error

    async def _examined(self, parts: tuple[Part, ...], language: str | None, key: str) -> tuple[Part, ...]:
        """Without the turns that the guards do not let pass, and what was said to them.

        Raises FilteredError where the user's last is one.
        """
        turns = [tuple(turn) for _, turn in groupby(parts, lambda part: part.role == "assistant")]
        last = max((at for at, turn in enumerate(turns) if turn[0].role != "assistant"), default=-1)
        kept: list[Part] = []
        passed = True
        for at, turn in enumerate(turns):
            if turn[0].role != "assistant":
                try:
                    await self.examine(turn, language, key)
                    passed = True
                except FilteredError:
                    passed = False
                    if at == last:
                        raise
            kept += turn if passed else ()
        return tuple(kept)

    def _ask(self, body: Body) -> tuple[Ask, str]:
        """How to answer, and as which kind of sound."""
        modalities = ["text"] if body.get("modalities") is None else body["modalities"]
        if modalities not in (["text"], ["text", "audio"], ["audio", "text"]):
            raise RefusedRequestError('modalities: use ["text"] or ["text", "audio"]', param="modalities")
        most = within(body, "max_completion_tokens", within(body, "max_tokens", 0, 1, 4096), 1, 4096)
        how: Body = {
            "sampler": Sampler(within(body, "temperature", 1.0, 0, 2), top_p=within(body, "top_p", 1.0, 1e-6, 1)),
            "seed": within(body, "seed", secrets.randbits(31), -(2**63), 2**63 - 1),
            "max_tokens": most or LONGEST_TEXT, "language": self.known.language(body.get("language")),
        }  # fmt: skip
        if "audio" not in modalities:
            return Ask(("text",), how), "wav"
        wanted = body.get("audio")
        if not isinstance(wanted, dict):
            raise RefusedRequestError('spoken answers need audio: {"voice": …, "format": …}', param="audio")
        streamed = flag(body, "stream")
        kind = sound.kind_of(wanted.get("format"), "pcm16" if streamed else "wav", "audio.format")
        if streamed and kind not in ("pcm16", "pcm"):                   # as the original service has it
            message = f"audio.format {kind!r} is not streamed; use pcm16, or leave stream out"
            raise RefusedRequestError(message, param="audio.format")
        seconds = min(LONGEST_ANSWER, most / self.known.codes_a_second) if most else LONGEST_ANSWER
        how |= {"voice": self.known.voice(wanted.get("voice"), "audio.voice"), "max_seconds": seconds}
        return Ask(("text", "audio"), how), kind

    async def _whole(
        self, said: AsyncIterator[messages.Told | Event | FilteredError], shown: Body, kind: str, key: str
    ) -> Body:  # fmt: skip
        text, waves = "", []
        called: list[Event] = []
        ended: messages.Ended | FilteredError | None = None
        async for message in said:
            if isinstance(message, dict):
                called.append(message)
            elif isinstance(message, messages.Said):
                text += message.text or ""
                waves += [message.audio] if message.audio is not None else []
            elif isinstance(message, messages.Ended | FilteredError):
                ended = message
        assert ended is not None
        answered: Body = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        if isinstance(ended, FilteredError):
            answered |= {"content": text or None, "refusal": REFUSAL}
        elif waves:
            file = await asyncio.to_thread(sound.encoded, np.concatenate(waves), self.known.rate, kind)
            data = base64.b64encode(file).decode()
            name = fresh("audio")
            until = self.messages.spoken.keep(key, name, _heard(ended, text))
            answered |= {"content": None}
            answered["audio"] = {"id": name, "data": data, "expires_at": until, "transcript": text}
        if called:
            answered |= {"content": text or None, "tool_calls": [_call(one) for one in called]}
        choice = {"index": 0, "message": answered, "finish_reason": _reason(ended, called), "logprobs": None}
        return {**shown, "object": "chat.completion", "choices": [choice], "usage": _usage(ended)}

    async def _chunks(
        self, said: AsyncIterator[messages.Told | Event | FilteredError], shown: Body, body: Body, key: str
    ) -> AsyncIterator[Body]:
        """The answer piece by piece; sound as PCM16 at 24 kHz."""
        write, audio = sound.streamer("pcm16", self.known.rate), fresh("audio")
        assert write is not None
        speaks, called, transcript = "audio" in (body.get("modalities") or []), 0, ""

        def chunk(delta: Body, reason: str | None = None, usage: Body | None = None, choices: bool = True) -> Body:
            choice = [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}] if choices else []
            return {**shown, "object": "chat.completion.chunk", "choices": choice, "usage": usage}

        yield chunk({"role": "assistant", "content": None if speaks else ""})
        async for message in said:
            if isinstance(message, dict):
                yield chunk({"tool_calls": [{"index": called, **_call(message)}]})
                called += 1
            elif isinstance(message, FilteredError):
                yield chunk({"refusal": REFUSAL})
                yield chunk({}, _reason(message, called))
            elif isinstance(message, messages.Ended):
                if speaks and (transcript or not called):
                    until = self.messages.spoken.keep(key, audio, _heard(message, transcript))
                    yield chunk({"audio": {"id": audio, "expires_at": until}})
                yield chunk({}, _reason(message, called))
                if (body.get("stream_options") or {}).get("include_usage"):
                    yield chunk({}, usage=_usage(message), choices=False)
            elif isinstance(message, messages.Said) and message.text is not None:
                text = message.text
                transcript += text
                yield chunk({"audio": {"id": audio, "transcript": text}} if speaks else {"content": text})
            elif isinstance(message, messages.Said) and message.audio is not None:
                data = base64.b64encode(write(message.audio)).decode()
                yield chunk({"audio": {"id": audio, "data": data}})


async def _done(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line
    yield "data: [DONE]\n\n"


def _call(item: Event) -> Body:
    """A call in the shape of this endpoint."""
    return {
        "id": item["call_id"], "type": "function", "function": {"name": item["name"], "arguments": item["arguments"]}
    }  # fmt: skip


def _heard(ended: messages.Ended, text: str) -> str:
    """What of an answer's text its sound has come to."""
    return text if ended.kept is None else ended.kept


def _reason(ended: messages.Ended | FilteredError, called: object) -> str:
    if isinstance(ended, FilteredError):
        return "content_filter"
    if called:
        return "tool_calls"
    return "length" if ended.cut else "stop"


def _usage(ended: messages.Ended | FilteredError) -> Body:
    if isinstance(ended, FilteredError):
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    given, taken = sum(ended.heard.values()), sum(ended.said.values())
    return {
        "prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken,
        "prompt_tokens_details": {"audio_tokens": ended.heard.get("audio", 0), "cached_tokens": 0},
        "completion_tokens_details": {
            "audio_tokens": ended.said.get("audio", 0), "reasoning_tokens": 0, "text_tokens": ended.said.get("text", 0),
        },
    }  # fmt: skip
