"""Calls of the client's functions, which the model writes as `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

(The form of Hermes and Qwen, which models that were taught tools mostly write.)
"""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from omni.live.engine import messages
from omni.live.protocol.events import Event, RefusedError, fresh

OPENING, CLOSING = "<tool_call>", "</tool_call>"


def offered(session: Event) -> list[Event]:
    """The session's functions that an answer may call. Raises RefusedError for what cannot be offered."""
    tools, choice = session["tools"], session["tool_choice"]
    if any(tool.get("type", "function") != "function" for tool in tools):
        raise RefusedError("this server calls no servers; use tools of type function", param="session.tools")
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


async def called(
    said: AsyncIterator[messages.Told], functions: Sequence[Event]
) -> AsyncIterator[messages.Told | Event]:
    """The same messages, but an answer that is a call comes as its item, whole and without its sound."""
    held: list[messages.Told] = []
    text, may = "", bool(functions)                                     # whether it can still become a call
    async for message in said:
        if may and isinstance(message, messages.Said):
            held.append(message)
            text += message.text or ""
            may = not text.strip() or begins_call(text, functions)
            for one in () if may else held:
                yield one
        elif may and isinstance(message, messages.Ended):
            item = call(fresh("item"), text)
            for one in held if item is None else ():
                yield one
            if item is not None:
                yield item
            yield message
        else:
            yield message


def begins_call(text: str, tools: Sequence[Event]) -> bool:
    """Whether what was written so far is or can become a call."""
    start = text.lstrip()
    return bool(tools) and (start.startswith(OPENING) or (bool(start) and OPENING.startswith(start)))


def call(item: str, text: str) -> Event | None:
    """The item of a whole call; None for text that is none."""
    inside = text.strip().removeprefix(OPENING).removesuffix(CLOSING)
    try:
        found: Any = json.loads(inside)
        name, arguments = found["name"], found.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not isinstance(name, str):
        return None
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {
        "id": item, "object": "realtime.item", "type": "function_call", "status": "completed",
        "call_id": fresh("call"), "name": name, "arguments": written,
    }  # fmt: skip
