"""`openai-agents`: a realtime agent whose function is called, run by the package, and answered with. WS_URL"""

import asyncio
import sys
from typing import Any

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner

called = []


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    called.append(city)
    return f"windy in {city}"


async def main(url: str) -> None:
    agent = RealtimeAgent(name="omni", instructions="Answer briefly.", tools=[weather])
    told: dict[str, Any] = {}
    async with await RealtimeRunner(agent).run(model_config={"url": url, "api_key": "none"}) as session:
        await session.send_message("What is the weather in Lima?")
        async with asyncio.timeout(60):
            async for event in session:
                assert event.type != "error", event
                told[event.type] = event
                if event.type == "agent_end" and "tool_end" in told and "audio" in told:
                    break
        said = [getattr(part, "transcript", None) for item in session._history for part in getattr(item, "content", [])]
    assert called == ["Lima"] and told["tool_end"].output == "windy in Lima", (called, told)
    answer = next(text for text in said if text and "windy in Lima" in text)
    print(f"openai-agents\tweather is called and run by the package, its result answered: {answer}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
