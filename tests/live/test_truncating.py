"""Answers that were not heard whole, over the wire: the conversation holds what was, whatever the order of events."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from omni.eval.live.serving import server

Events = list[dict[str, Any]]
HEARD = 200                                                             # milliseconds
CODES = 125                                                             # of sound, a second


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server(None, None) as address:
        yield address


class Client:
    """One session; `seen` is all that was sent to it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.seen = socket, Events()

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of this type."""
        async with asyncio.timeout(60):
            while True:
                self.seen.append(event := json.loads(await self.socket.recv()))
                assert event["type"] != "error", event
                if event["type"] == kind:
                    return event

    async def ask(self, **how: Any) -> None:
        """Have something spoken."""
        content = [{"type": "input_text", "text": "Tell me who you are, and what you can do."}]
        await self.say("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await self.say("response.create", response=how)

    def sound(self) -> float:
        """Milliseconds of sound that were sent."""
        deltas = [one["delta"] for one in self.seen if one["type"] == "response.output_audio.delta"]
        return sum(map(len, deltas)) * 3 / 4 / 48

    async def known(self) -> dict[str, int]:
        """What the next turn is given of the conversation, in codes."""
        asked = {"conversation": "none", "output_modalities": ["text"], "max_output_tokens": 1}
        await self.say("response.create", response=asked)
        done = await self.until("response.done")
        return done["response"]["usage"]["input_token_details"]

    async def item(self, name: str) -> dict[str, Any]:
        await self.say("conversation.item.retrieve", item_id=name)
        return (await self.until("conversation.item.retrieved"))["item"]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Client]:
    async with connect(url, proxy=None, max_size=None) as socket:
        client = Client(socket)
        await client.until("session.created")
        yield client


@pytest.mark.parametrize(
    "order", [("truncate",), ("truncate", "cancel"), ("cancel", "truncate"), ("done", "truncate")], ids="-".join
)
def test_what_was_heard_stays_whenever_the_client_tells_of_it(url: str, order: tuple[str, ...]) -> None:
    async def talk() -> None:
        async with opened(url) as client:
            await client.ask()
            item = (await client.until("response.output_audio.delta"))["item_id"]
            while client.sound() < HEARD:
                await client.until("response.output_audio.delta")
            done = await client.until("response.done") if "done" in order else None
            for step in order:
                if step == "truncate":
                    where = {"item_id": item, "content_index": 0, "audio_end_ms": HEARD}
                    await client.say("conversation.item.truncate", **where)
                elif step == "cancel":
                    await client.say("response.cancel")
            done = done or await client.until("response.done")
            assert done["response"]["status"] == ("cancelled" if "cancel" in order else "completed")
            known = await client.known()
            assert HEARD / 1000 * CODES - 5 <= known["audio_tokens"] <= (HEARD / 1000 + 1) * CODES, known
            if "cancel" not in order:
                assert known["audio_tokens"] < done["response"]["usage"]["output_token_details"]["audio_tokens"]
            assert (await client.item(item))["content"] == [{"type": "output_audio", "transcript": None}]

    asyncio.run(talk())


def test_of_an_answer_that_reaches_its_limit_the_conversation_holds_the_words_that_were_spoken(url: str) -> None:
    async def talk() -> bool:
        """False of an answer that is shorter than its limit, as one is now and then."""
        async with opened(url) as client:
            await client.ask(max_output_tokens=60)                      # 0.48 s of sound
            done = (await client.until("response.done"))["response"]
            if done["status"] == "completed":
                return False
            assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
            (answer,) = done["output"]
            said = answer["content"][0]["transcript"]
            assert answer["status"] == "incomplete" and len(said) > 16, said
            held = (await client.item(answer["id"]))["content"][0]["transcript"]
            assert said.startswith(held) and len(held) <= 60 / CODES * 16 + 1 < len(said)
            before, known = done["usage"], await client.known()
            spoken = before["output_token_details"]
            assert known["audio_tokens"] == spoken["audio_tokens"] <= 60
            own = known["text_tokens"] - before["input_token_details"]["text_tokens"]
            assert own < spoken["text_tokens"] or spoken["text_tokens"] == 0
            return True

    assert any(asyncio.run(talk()) for _ in range(5))
