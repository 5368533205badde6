"""Calls of the client's functions, which the model writes as `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

(The form of Hermes and Qwen, which models that were taught tools mostly write.)
"""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from omni.live.engine import messages
from omni.live.protocol.events import Event, RefusedError, fresh, writable

OPENING, CLOSING = "<tool_call>", "</tool_call>"


def offered(session: Event) -> list[Event]:
    """The session's functions that an answer may call. Raises RefusedError for what cannot be offered."""
    tools, choice = session["tools"], session["tool_choice"]
    if any(tool.get("type", "function") != "function" for tool in tools):
        raise RefusedError("this server calls no servers; use tools of type function", param="session.tools")
    for index, tool in enumerate(tools):
        where = f"session.tools.{index}"
        if not tool.get("name"):
            message = "a function has a name, beside its type and not inside of another object"
            raise RefusedError(message, "missing_required_parameter", f"{where}.name")
        if not isinstance(tool.get("parameters") or {}, dict):
            raise RefusedError("the parameters of a function are an object", param=f"{where}.parameters")
    if choice == "required" and not tools:
        raise RefusedError("a call is required, but there are no tools; name some", param="session.tool_choice")
    if not isinstance(choice, dict):
        return [] if choice == "none" else list(tools)
    found = [tool for tool in tools if tool.get("name") == choice.get("name")]
    if not found:
        raise RefusedError("it names no function of tools", param="session.tool_choice")
    return found


def instructions(tools: Sequence[Event], must: bool) -> str:
    """What the model is told of the functions that it may, or must, call; empty where there are none."""
    described = [json.dumps({name: tool.get(name) for name in ("name", "description", "parameters")}) for tool in tools]
    if not described:
        return ""
    listed = "\n".join(described)
    may = "must call one of" if must else "may call"
    return f'Functions that you {may} with {OPENING}{{"name": …, "arguments": {{…}}}}{CLOSING}:\n{listed}'


class Calls:
    """Tells the calls of one answer, which come behind what it says, from what it says, while it is being said."""

    def __init__(self, functions: Sequence[Event]) -> None:
        self._offered = bool(functions)
        self._held = ""                                                 # what can still be, or is, a call

    @property
    def begun(self) -> bool:
        """Whether a call has begun: what follows is no speech."""
        return OPENING in self._held

    def feed(self, text: str) -> str:
        """More of it; returns what can be said of it by now."""
        if not self._offered:
            return text
        whole = self._held + text
        at = whole.find(OPENING)
        if at < 0:                                                      # its end may be the beginning of one
            ends = range(max(0, len(whole) - len(OPENING)), len(whole) + 1)
            at = next(end for end in ends if OPENING.startswith(whole[end:]))
        at = len(whole[:at].rstrip())
        said, self._held = whole[:at], whole[at:]
        return said

    def finish(self) -> tuple[str, list[Event]]:
        """The answer is whole: what is still to be said, and the items of its calls. Only one of both is not empty."""
        text, self._held = self._held, ""
        pieces = text.strip().split(OPENING)
        found = [_call(piece) for piece in pieces[1:]]
        made = [item for item in found if item is not None]
        return ("", made) if made and len(made) == len(found) and not pieces[0] else (text, [])


async def called(
    said: AsyncIterator[messages.Told], functions: Sequence[Event]
) -> AsyncIterator[messages.Told | Event]:
    """The same messages, but a call comes as its item, whole and without any sound of it, before `Ended`."""
    calls, answer = Calls(functions), ("", "")
    async for message in said:
        if isinstance(message, messages.Said):
            answer = message.talk, message.answer
            if message.text is not None:
                message = replace(message, text=calls.feed(message.text))
            if message.text or (message.text is None and not calls.begun):
                yield message
            continue
        rest, items = calls.finish() if isinstance(message, messages.Ended) else ("", [])
        if rest:
            yield messages.Said(*answer, rest)
        for item in items:
            yield item
        yield message


def written(name: str, arguments: str) -> str:
    """A call as the model writes it."""
    try:
        given: Any = json.loads(arguments)
    except (ValueError, RecursionError):
        given = arguments
    return f"{OPENING}{json.dumps({'name': name, 'arguments': given})}{CLOSING}"


def _call(text: str) -> Event | None:
    """The item of what stands between two marks; None for text that is no call."""
    try:
        found: Any = json.loads(text.strip().removesuffix(CLOSING))
        name, arguments = found["name"], found.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(name, str) or not writable(found):
        return None
    return {
        "id": fresh("item"), "object": "realtime.item", "type": "function_call", "status": "completed",
        "call_id": fresh("call"), "name": name,
        "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
    }  # fmt: skip
