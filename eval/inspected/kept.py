"""Answers that are kept, so that a suite whose scorers changed does not ask the model again.

Inspect has a cache of its own, but that one pickles, and does not know which weights answered.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput
from inspect_ai.model._cache import epoch as EPOCH
from inspect_ai.tool import ToolChoice, ToolInfo

from omni.files import write_text

READ = {                                                                # settings that our providers heed
    "temperature", "top_k", "top_p", "max_tokens", "seed", "stop_seqs", "frequency_penalty", "presence_penalty",
    "logit_bias", "extra_body",
}  # fmt: skip

APART = 1_000_003                                                       # seeds of epochs; attempts take the next ones


class KeptModel(ModelAPI):
    """A provider that gives what it has answered before, under the same settings, while answers are kept."""

    _kept: Path | None = None

    @abstractmethod
    async def answer(self, input: list[ChatMessage], tools: list[ToolInfo], config: GenerateConfig) -> ModelOutput:
        """Ask the model."""

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """The answer, kept or new. What cannot be answered raises what `answer` raises, and is not kept.

        Every epoch draws with a seed of its own, or its answers would be those of the first.
        """
        if (again := EPOCH.get(1) - 1) > 0:
            config = config.model_copy(update={"seed": (config.seed or 0) + APART * again})
        if self._kept is None:
            return await self.answer(input, tools, config)
        path = self._kept / f"{_key(input, tools, config)}.json"
        if path.is_file():
            return ModelOutput.model_validate(json.loads(path.read_text(encoding="utf-8")))
        output = await self.answer(input, tools, config)
        write_text(path, json.dumps(output.model_dump()))               # not pydantic's own, which has no infinities
        return output

    @contextmanager
    def keeping(self, folder: Path, of: str) -> Iterator[None]:
        """Keep answers below a folder. of: whatever they depend on but for the question, such as the weights."""
        self._kept = folder / hashlib.sha256(of.encode()).hexdigest()[:16]
        try:
            yield
        finally:
            self._kept = None


def _key(asked: Sequence[ChatMessage], tools: Sequence[ToolInfo], config: GenerateConfig) -> str:
    messages = [message.model_dump(include={"role", "content"}) for message in asked]
    whole = [messages, [tool.model_dump() for tool in tools], config.model_dump(include=READ)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()
