"""`openai-agents`: a realtime agent with a tool and semantic turn detection. WS_URL RECORDING"""

import asyncio
import sys
from pathlib import Path

import soundfile
from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def until(session: RealtimeSession, kind: str) -> dict[str, int]:
    """How many events of which type came up to the first of this kind."""
    counts: dict[str, int] = {}
    async with asyncio.timeout(60):
        async for event in session:
            counts[event.type] = counts.get(event.type, 0) + 1
            assert event.type != "error", event
            if event.type == kind:
                break
    return counts


async def main(url: str, recording: Path) -> None:
    agent = RealtimeAgent(name="omni", instructions="Answer briefly.", tools=[weather])
    runner = RealtimeRunner(agent)
    wave, _ = soundfile.read(recording, dtype="int16")
    sound = bytes(wave.tobytes()) + bytes(72_000)
    async with await runner.run(model_config={"url": url, "api_key": "none"}) as session:

        async def speak() -> None:
            for first in range(0, len(sound), 4800):
                await session.send_audio(sound[first : first + 4800])
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        heard = await until(session, "agent_end")
        await speaking
        assert heard.get("audio"), heard
        await session.send_message("Hello")
        await until(session, "audio")
        await session.interrupt()
        await until(session, "audio_interrupted")
        await session.send_message("Are you there?")
        await until(session, "agent_end")
    print(f"openai-agents\tspeech is answered in {heard['audio']} pieces; a text too, interrupted, and it goes on")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
