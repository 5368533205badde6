"""pipecat's OpenAI realtime service in a pipeline: WS_URL RECORDING"""

import asyncio
import sys
import wave
from collections import Counter

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    TTSAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService


class Ear(FrameProcessor):
    """The end of the pipeline: what comes out of the service."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: Counter[str] = Counter()
        self.ended, self.sounds = asyncio.Event(), asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.heard[type(frame).__name__] += 1
        if isinstance(frame, LLMFullResponseEndFrame):
            self.ended.set()
        if isinstance(frame, TTSAudioRawFrame):
            self.sounds.set()
        await self.push_frame(frame, direction)


async def main(url: str, recording: str) -> None:
    with wave.open(recording) as file:
        sound = file.readframes(file.getnframes()) + bytes(72_000)
    service, ear = OpenAIRealtimeLLMService(api_key="none", base_url=url), Ear()
    errors: list[str] = []
    rates = PipelineParams(audio_in_sample_rate=24_000, audio_out_sample_rate=24_000)
    task = PipelineTask(Pipeline([service, ear]), params=rates)

    @service.event_handler("on_error")
    async def failed(_: object, error: ErrorFrame) -> None:
        errors.append(str(error))

    async def talk() -> None:
        await asyncio.sleep(1)
        await task.queue_frame(LLMContextFrame(LLMContext([{"role": "user", "content": "Hello"}])))
        async with asyncio.timeout(60):
            await ear.ended.wait()
        before = ear.heard[TTSAudioRawFrame.__name__]
        ear.ended.clear()
        ear.sounds.clear()
        for first in range(0, len(sound), 960):
            await task.queue_frame(InputAudioRawFrame(sound[first : first + 960], 24_000, 1))
            await asyncio.sleep(0.02)
        async with asyncio.timeout(60):
            await ear.sounds.wait()
            await task.queue_frame(InterruptionFrame())
            await ear.ended.wait()
        assert before and ear.heard[TTSAudioRawFrame.__name__] > before, ear.heard
        await asyncio.sleep(0.5)
        await task.queue_frame(EndFrame())

    await asyncio.gather(PipelineRunner(handle_sigint=False).run(task), talk())
    assert not errors, errors
    frames = ear.heard[TTSAudioRawFrame.__name__]
    print(f"pipecat\ta context and speech are answered, in {frames} frames of sound; the second is interrupted")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
