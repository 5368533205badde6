"""Our models as a provider of Inspect AI: `--model omni/omni-tiny`, or omni/ and the path of a model folder."""

import asyncio
import tempfile
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentAudio,
    ContentDocument,
    ContentImage,
    ContentText,
    ContentVideo,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolInfo

from omni.decode.answer import Answer
from omni.decode.parts import Part, Text
from omni.decode.pipeline import Pipeline
from omni.errors import InputError
from omni.eval.abilities.subject import voice_for
from omni.eval.inspected.batching import Batcher
from omni.eval.inspected.kept import KeptModel
from omni.eval.inspected.messages import answered, parts
from omni.eval.inspected.plainly import plainly
from omni.eval.inspected.wishes import Wish, wish
from omni.shipped import named_model

ROWS = 16                                                               # requests that are answered together


@dataclass(frozen=True)
class _Reply:
    message: ChatMessageAssistant
    seconds: float                                                      # of the thread, for the whole batch
    metadata: dict[str, Any] | None = None


class OmniModel(KeptModel):
    """Text, audio and pictures in and out; `extra_body` says what the answer is to be (omni.eval.inspected.wishes).

    A request with `choices` is answered by the likeliest of them, one with `score` by nothing but the log-likelihood
    of that text in nats; both stand in the metadata of the output.
    """

    @plainly
    def __init__(
        self, model_name: str, base_url: str | None = None, api_key: str | None = None,
        config: GenerateConfig | None = None, device: str = "cpu", int8: bool = False,
    ) -> None:  # fmt: skip
        """Raises InputError when there is no such model."""
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self.pipeline = Pipeline.load(named_model(model_name), device, int8)
        self._scratch = tempfile.TemporaryDirectory(prefix="omni-eval-")
        self._batcher = Batcher[tuple[Part, ...], _Reply](self._answer, ROWS)

    async def answer(self, input: list[ChatMessage], tools: list[ToolInfo], config: GenerateConfig) -> ModelOutput:
        """The answer. Raises InputError for tools, which our models cannot use, and for what they cannot read."""
        if tools:
            raise InputError(f"{self.model_name}: cannot use tools; leave {tools[0].name} out")
        asked, given = wish(config), parts(input, Path(self._scratch.name))
        if "audio" in asked.want and asked.voice is None:
            asked = replace(asked, voice=voice_for(asked.language, self.pipeline.vocab.voices))
        alone = asked.drawn or asked.choices or asked.score is not None
        key: tuple[Wish, object] = (asked, object() if alone else None)
        reply = await asyncio.wrap_future(self._batcher.submit(key, given))
        usage = await self._usage(input, reply.message)
        choice = ChatCompletionChoice(message=reply.message, stop_reason="stop")
        return ModelOutput(
            model=self.model_name, choices=[choice], usage=usage, time=reply.seconds, metadata=reply.metadata
        )

    async def count_text_tokens(self, text: str) -> int:
        """By our own tokenizer: Inspect's would fetch another's."""
        tokenizer = self.pipeline.tokenizers.text
        return len(tokenizer.encode(text)) if tokenizer else 0

    async def count_media_tokens(self, media: ContentImage | ContentAudio | ContentVideo | ContentDocument) -> int:
        """Codes of an answer, where it has them; otherwise the steps of a picture, or of as much sound as is there."""
        if isinstance(media.internal, dict) and isinstance(codes := media.internal.get("codes"), list):
            return int(np.array(codes).size)
        audio = self.pipeline.tokenizers.audio
        if isinstance(media, ContentAudio) and audio:
            return int(len(media.audio) * 3 / 4 / 32000 * audio.frame_rate)
        return self.pipeline.vocab.picture_tokens

    def max_connections(self) -> int:
        """As many as are answered together."""
        return ROWS

    def should_retry(self, ex: Exception) -> bool:
        """Never: the same question gets the same answer."""
        return False

    def close(self) -> None:
        """End the thread; another request would start it again."""
        self._batcher.close()

    async def aclose(self) -> None:
        self.close()

    async def _usage(self, asked: list[ChatMessage], said: ChatMessageAssistant) -> ModelUsage:
        heard, told = await self.count_tokens(asked), await self.count_tokens([said])
        return ModelUsage(input_tokens=heard, output_tokens=told, total_tokens=heard + told)

    def _answer(self, key: Hashable, asked: Sequence[tuple[Part, ...]]) -> list[_Reply]:
        """The thread's work: `key` is the wish, and for those who are asked alone something of their own."""
        assert isinstance(key, tuple)
        wanted: Wish = key[0]
        begun = time.perf_counter()
        if wanted.score is not None:
            return [self._scored(given, wanted, begun) for given in asked]
        if wanted.choices:
            return [self._chosen(given, wanted, begun) for given in asked]
        if wanted.drawn or len(asked) == 1:
            said = [self.pipeline(given, wanted.want, **wanted.how) for given in asked]
        else:
            said = self.pipeline.batch(asked, wanted.want, **wanted.how)
        return [self._told(answer, time.perf_counter() - begun) for answer in said]

    def _told(self, answer: Answer, seconds: float) -> _Reply:
        return _Reply(answered(answer, self.model_name, seconds=round(seconds, 4)), seconds)

    def _chosen(self, given: tuple[Part, ...], wanted: Wish, begun: float) -> _Reply:
        sums = self.pipeline.score(given, [Text(choice) for choice in wanted.choices], wanted.language)
        means = sums / [self._steps(choice) for choice in wanted.choices]
        best = wanted.choices[int(np.argmax(means))]
        message = ChatMessageAssistant(content=[ContentText(text=best)], model=self.model_name, source="generate")
        return _Reply(message, time.perf_counter() - begun, {"log_likelihoods": means.tolist()})

    def _scored(self, given: tuple[Part, ...], wanted: Wish, begun: float) -> _Reply:
        assert wanted.score is not None
        (nats,) = self.pipeline.score(given, [Text(wanted.score)], wanted.language).tolist()
        message = ChatMessageAssistant(content=[ContentText(text="")], model=self.model_name, source="generate")
        return _Reply(message, time.perf_counter() - begun, {"log_likelihood": nats})

    def _steps(self, text: str) -> int:
        """The steps that a text is scored over: its tokens, and the two that end the answer."""
        tokenizer = self.pipeline.tokenizers.text
        assert tokenizer is not None
        return len(tokenizer.encode(text)) + 2


PROVIDER = modelapi(name="omni")(OmniModel)                             # registered by being made
