"""The `openai` package calls a function, in a session and over HTTP: BASE_URL."""

import asyncio
import json
import sys
from typing import Any

from openai import AsyncOpenAI

NAME = "openai (Python)"
FUNCTION: dict[str, Any] = {
    "name": "weather", "description": "The weather in a city.",
    "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"], "type": "object"},
}  # fmt: skip
CHOICE = {"auto": "auto", "by name": {"type": "function", "name": "weather"}}


def weather(city: str) -> str:
    """The client's function."""
    return f"{'windy' if city == 'Oslo' else 'sunny'} in {city}"


async def session(client: AsyncOpenAI, modality: str, choice: Any, city: str) -> str:
    """The answer to what the function returned, after it was called."""
    async with client.realtime.connect(model="omni") as connection:

        async def response() -> Any:
            await connection.response.create()
            seen = []
            async with asyncio.timeout(60):
                async for event in connection:
                    assert event.type != "error", event
                    seen.append(event)
                    if event.type == "response.done":
                        return event.response, [one for one in seen if "function_call" in one.type]

        functions: Any = [{"type": "function", **FUNCTION}]
        await connection.session.update(session={
            "type": "realtime", "tools": functions, "tool_choice": choice, "output_modalities": [modality],
        })  # fmt: skip
        await connection.conversation.item.create(item={
            "type": "message", "role": "user",
            "content": [{"type": "input_text", "text": f"What is the weather in {city}?"}],
        })  # fmt: skip
        made, events = await response()
        (call,) = made.output
        assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "weather", {"city": city}), made
        assert [event.type.rpartition(".")[2] for event in events] == ["delta", "done"], events
        assert events[0].delta == events[1].arguments == call.arguments and events[1].call_id == call.call_id
        returned = weather(**json.loads(call.arguments))
        await connection.conversation.item.create(item={
            "type": "function_call_output", "call_id": call.call_id, "output": returned,
        })  # fmt: skip
        await connection.session.update(session={"type": "realtime", "tool_choice": "auto"})
        told, events = await response()
        said = words(told.output[0].content[0])
        assert not events and returned in said, told
    return said


def words(part: Any) -> str:
    return str(part.text if part.type == "output_text" else part.transcript)


async def chat(client: AsyncOpenAI, choice: Any, city: str) -> None:
    """The same over HTTP, the call whole and streamed."""
    messages: list[Any] = [{"role": "user", "content": f"What is the weather in {city}?"}]
    asked: Any = {
        "model": "omni", "tools": [{"type": "function", "function": FUNCTION}], "tool_choice": choice, "seed": 1,
    }  # fmt: skip
    whole = (await client.chat.completions.create(**asked, messages=messages)).choices[0]
    assert whole.finish_reason == "tool_calls" and whole.message.tool_calls is not None, whole
    pieces, reason = [], None
    async for chunk in await client.chat.completions.create(**asked, messages=messages, stream=True):
        pieces += chunk.choices[0].delta.tool_calls or []
        reason = chunk.choices[0].finish_reason or reason
    (call,), (piece,) = whole.message.tool_calls, pieces
    assert reason == "tool_calls" and piece.function.arguments == call.function.arguments
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": city}), call
    returned = weather(**json.loads(call.function.arguments))
    messages += [whole.message, {"role": "tool", "tool_call_id": call.id, "content": returned}]
    told = (await client.chat.completions.create(**asked | {"tool_choice": "auto"}, messages=messages)).choices[0]
    assert told.finish_reason == "stop" and returned in (told.message.content or ""), told


async def main(base: str) -> None:
    client = AsyncOpenAI(base_url=base, api_key="none", max_retries=0, timeout=60)
    for modality, choice, city in (("text", "auto", "Paris"), ("audio", "by name", "Oslo")):
        said = await session(client, modality, CHOICE[choice], city)
        print(f"{NAME}\trealtime, {modality}: weather is called ({choice}) and its result answered: {said}", flush=True)
    await chat(client, "auto", "Rome")
    await chat(client, {"type": "function", "function": {"name": "weather"}}, "Oslo")
    print(f"{NAME}\tchat: weather is called, whole and streamed, and its result answered", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
