"""What a request of chat completions says: its messages as parts, and the functions that may be called."""

import base64
import binascii
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from omni.decode.parts import Audio, Part, Picture, Text
from omni.live.engine import messages
from omni.live.http import sound
from omni.live.http.asking import Known, RefusedRequestError, flag, within
from omni.live.protocol import tools
from omni.live.protocol.events import Event, RefusedError
from omni.live.protocol.items import picture

AUDIO_ID_LIVES = 3600                                                   # seconds, as told in `expires_at`
MOST_SPOKEN = 10_000                                                    # answers whose transcripts are kept at most
MOST_STOPS = 4                                                          # as OpenAI's endpoint has it
Body = dict[str, Any]


class Spoken:
    """Transcripts of spoken answers by their ids, for later messages that name them; the oldest make room."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, str]] = {}      # by key and id: until when, and what was said

    def keep(self, key: str, name: str, text: str) -> int:
        """Until when it is known, in Unix time."""
        until = int(time.time()) + AUDIO_ID_LIVES
        self._known[key, name] = until, text
        if len(self._known) > MOST_SPOKEN:
            del self._known[next(iter(self._known))]
        return until

    def text(self, key: str, audio: object, where: str) -> str:
        """Of the answer that a message of this key means. Raises RefusedRequestError."""
        name = audio.get("id") if isinstance(audio, dict) else None
        if not isinstance(name, str):
            raise RefusedRequestError(f'{where} must be {{"id": …}}', param=where)
        until, text = self._known.get((key, name), (0.0, ""))
        if until < time.time():
            message = f"{where}.id: no spoken answer {name!r} is known (any more); send its transcript as content"
            raise RefusedRequestError(message, 404, f"{where}.id", "audio_not_found")
        return text


class Messages:
    """Reads them, and knows the spoken answers that they name by an id."""

    def __init__(self, known: Known) -> None:
        self.known, self.spoken = known, Spoken()

    def read(self, body: Body, key: str) -> tuple[tuple[Part, ...], str]:
        """What is said to the model, and the system's instructions; key: who asks. Raises RefusedRequestError."""
        given = body.get("messages")
        if not isinstance(given, list) or not given:
            raise RefusedRequestError("messages must be a list with at least one message", param="messages")
        parts: list[Part] = []
        system = []
        for index, message in enumerate(given):
            where = f"messages[{index}]"
            if not isinstance(message, dict):
                raise RefusedRequestError(f"{where} must be an object with role and content", param=where)
            role = message.get("role")
            if role in ("system", "developer"):
                system += [part.text for part in self._content(message, "user", where) if isinstance(part, Text)]
            elif role in ("user", "assistant", "tool"):
                parts += self._content(message, "user" if role == "tool" else role, where)
                if role == "assistant":
                    parts += self._heard(message, key, where)
                    parts += _calls(message, where)
            else:
                raise RefusedRequestError(f"{where}.role is {role!r}; use system, user, assistant or tool", param=where)
        if not parts:
            raise RefusedRequestError("nothing to answer; add a message of the user", param="messages")
        return tuple(parts), "\n".join(system)

    def _heard(self, message: Body, key: str, where: str) -> list[Part]:
        """The spoken answer that an assistant's message names; to the model it is its transcript."""
        if message.get("audio") is None:
            return []
        text = self.spoken.text(key, message["audio"], f"{where}.audio")
        return [Text(text, "assistant")] if text and not message.get("content") else []

    def _content(self, message: Body, role: str, where: str) -> list[Part]:
        content = message.get("content")
        if content is None:
            content = message.get("refusal")
        if isinstance(content, str):
            return [Text(content, role)] if content else []
        if content is None:
            return []
        if not isinstance(content, list):
            raise RefusedRequestError(f"{where}.content must be a text or a list of parts", param=where)
        return [self._part(part, role, f"{where}.content[{index}]") for index, part in enumerate(content)]

    def _part(self, part: Any, role: str, where: str) -> Part:
        kind = part.get("type") if isinstance(part, dict) else None
        inside = part.get(kind) if isinstance(kind, str) else None
        if kind in ("text", "refusal") and isinstance(inside, str):
            return Text(inside, role)
        if kind == "image_url" and isinstance(inside, dict):
            try:
                return Picture(picture(str(inside.get("url") or ""), f"{where}.image_url.url"), role)
            except RefusedError as error:
                raise RefusedRequestError(str(error), param=error.param) from None
        if kind == "input_audio" and isinstance(inside, dict):
            place = f"{where}.input_audio.data"
            try:
                data = base64.b64decode(str(inside.get("data") or ""), validate=True)
            except (binascii.Error, ValueError):
                raise RefusedRequestError(f"{place}: not base64; encode the bytes of a WAV file", param=place) from None
            return Audio(sound.decoded(data, self.known.rate, place, place), self.known.rate, role)
        raise RefusedRequestError(f"{where}: use a text, image_url or input_audio part", param=where)


def check_answerable(body: Body) -> None:
    """Raise RefusedRequestError for wishes about the answer that this server does not meet.

    What would not change it (user, store, metadata and the like) is left unread.
    """
    shape = body.get("response_format")
    if shape is not None and (not isinstance(shape, dict) or shape.get("type") != "text"):
        message = 'response_format: use {"type": "text"}; answers cannot be held to JSON or a schema here'
        raise RefusedRequestError(message, param="response_format")
    for name in ("frequency_penalty", "presence_penalty"):
        if within(body, name, 0.0, -2, 2) != 0:
            raise RefusedRequestError(f"{name} is not supported; leave it out", param=name)
    for name, none in (("logit_bias", {}), ("functions", [])):          # what clients may send that want nothing
        if body.get(name) not in (None, none):
            instead = "use tools" if name == "functions" else "leave it out"
            raise RefusedRequestError(f"{name} is not supported; {instead}", param=name)
    called = body.get("function_call")                                  # the old tool_choice
    if called not in (None, "auto", "none"):
        raise RefusedRequestError("function_call is not supported; use tool_choice", param="function_call")
    if flag(body, "logprobs"):
        raise RefusedRequestError("logprobs are not told; leave them out", param="logprobs")
    if within(body, "top_logprobs", 0, 0, 20):
        raise RefusedRequestError("top_logprobs are not told; leave them out", param="top_logprobs")
    if not flag(body, "parallel_tool_calls") and body.get("parallel_tool_calls") is False and body.get("tools"):
        message = "parallel_tool_calls: an answer may make several calls here; leave it out"
        raise RefusedRequestError(message, param="parallel_tool_calls")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise RefusedRequestError("stream_options must be an object", param="stream_options")
    flag(options or {}, "include_usage")


def stops_of(body: Body) -> tuple[str, ...]:
    """Texts at which an answer ends. Raises RefusedRequestError."""
    given = body.get("stop")
    stops = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(one, str) and one for one in stops):
        raise RefusedRequestError(f"stop must be a text, or up to {MOST_STOPS} in a list", param="stop")
    if stops and "audio" in (body.get("modalities") or ()):
        raise RefusedRequestError("stop is for written answers; leave it out where they are spoken", param="stop")
    return tuple(stops)


async def stopped(said: AsyncIterator[messages.Told], stops: tuple[str, ...]) -> AsyncIterator[messages.Told]:
    """The same messages, but of the text only what comes before the first of `stops`."""
    held, over = "", False                                              # what may be the beginning of one
    async for message in said:
        if isinstance(message, messages.Said) and message.text is not None:
            held += "" if over else message.text
            found = min((at for stop in stops if (at := held.find(stop)) >= 0), default=None)
            over = over or found is not None
            sure = len(held) - _begun(held, stops) if found is None else found
            text, held = held[:sure], "" if over else held[sure:]
            if text:
                yield replace(message, text=text)
            continue
        if isinstance(message, messages.Ended):
            if held:
                yield messages.Said(message.talk, message.answer, held)
            message = replace(message, cut=message.cut and not over)
        yield message


def _begun(text: str, stops: tuple[str, ...]) -> int:
    """Letters at the end of a text with which one of the stops may begin."""
    sizes = (size for stop in stops for size in range(1, len(stop)) if text.endswith(stop[:size]))
    return max(sizes, default=0)


def functions_of(body: Body) -> tuple[list[Event], str]:
    """Those that the answer may call, in the shape of a session's, and what the model is told of them."""
    given, choice = ([] if body.get("tools") is None else body["tools"]), body.get("tool_choice")
    choice = "auto" if choice is None else choice
    if not isinstance(given, list) or not all(isinstance(tool, dict) for tool in given):
        raise RefusedRequestError("tools must be a list of objects", param="tools")
    if not isinstance(choice, dict) and choice not in ("auto", "none", "required"):
        raise RefusedRequestError("tool_choice: use auto, none, required or a function", param="tool_choice")
    flat = [{"type": tool.get("type"), **_inside(tool, "tools")} for tool in given]
    session = {"tools": flat, "tool_choice": _inside(choice, "tool_choice") if isinstance(choice, dict) else choice}
    try:
        functions = tools.offered(session)
    except RefusedError as error:
        raise RefusedRequestError(str(error), param=(error.param or "").removeprefix("session.")) from None
    return functions, tools.instructions(functions, must=choice not in ("auto", "none"))


def _inside(tool: Body, param: str) -> Body:
    """The function that a tool or a choice is about."""
    inside = tool.get("function")
    if tool.get("type") != "function" or not isinstance(inside, dict) or not isinstance(inside.get("name"), str):
        raise RefusedRequestError('use {"type": "function", "function": {"name": …}}', param=param)
    for name, kind in (("description", str), ("parameters", dict), ("arguments", str)):
        if inside.get(name) is not None and not isinstance(inside[name], kind):
            told = "an object" if kind is dict else "a text"
            raise RefusedRequestError(f"function.{name} must be {told}", param=param)
    return inside


def _calls(message: Body, where: str) -> list[Part]:
    """Those that an assistant's message made, as the model writes them."""
    made = [] if message.get("tool_calls") is None else message["tool_calls"]
    if not isinstance(made, list) or not all(isinstance(one, dict) for one in made):
        raise RefusedRequestError(f"{where}.tool_calls must be a list of objects", param=where)
    functions = [_inside(one, f"{where}.tool_calls[{index}]") for index, one in enumerate(made)]
    return [Text(tools.written(one["name"], one.get("arguments") or "{}"), "assistant") for one in functions]
