"""Any model behind OpenAI's chat completions, sound and all: `--model served/NAME --base-url ADDRESS`.

Inspect's own provider for such endpoints drops the sound of an answer; this one keeps it. A request that fails for a
reason that may pass is tried again, as often as `max_retries` says; then its sample is an error, and the others go on.
"""

import base64
import binascii
import io
import os
from typing import Any

import httpx
import soundfile
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentAudio,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from omni.errors import InputError
from omni.eval.inspected.messages import picture, read_picture, read_sound, sound

KEY = "OPENAI_API_KEY"                                                  # environment, where an endpoint wants one
PASSING = {408, 409, 425, 429, 500, 502, 503, 504}                      # answers that may be others the next time
SECONDS = 120.0


class ServedModel(ModelAPI):
    """Text, sound and pictures in, text and sound out, by HTTP."""

    def __init__(
        self, model_name: str, base_url: str | None = None, api_key: str | None = None,
        config: GenerateConfig | None = None,
    ) -> None:  # fmt: skip
        """Raises InputError without an address."""
        super().__init__(model_name, base_url, api_key, [KEY], config or GenerateConfig())
        if not base_url:
            raise InputError(f"served/{model_name}: no address; give --base-url, such as that of `omni serve`")
        self._address = f"{base_url.rstrip('/')}/chat/completions"

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """The answer. Raises InputError for what the endpoint refuses, and httpx's errors for what may pass."""
        asked: dict[str, Any] = {"model": self.model_name, "messages": [_message(one) for one in input]}
        for name in ("temperature", "top_p", "max_tokens", "seed"):
            if (value := getattr(config, name)) is not None:
                asked[name] = value
        asked |= config.extra_body or {}
        key = self.api_key or os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            reply = await client.post(self._address, json=asked, headers=headers)
        if reply.status_code in PASSING:
            reply.raise_for_status()
        if reply.status_code != 200:
            raise InputError(f"{self._address}: {reply.status_code} {reply.text[:200]}")
        return self._output(reply)

    def should_retry(self, ex: Exception) -> bool:
        return isinstance(ex, httpx.TransportError | httpx.HTTPStatusError)

    async def count_text_tokens(self, text: str) -> int:
        """By its bytes: the endpoint's own count comes with the answer."""
        return len(text.encode()) // 4

    async def count_media_tokens(self, media: Any) -> int:
        return 0

    def _output(self, reply: httpx.Response) -> ModelOutput:
        try:
            body = reply.json()
            message = ChatMessageAssistant(
                content=_contents(body["choices"][0]["message"]), model=self.model_name, source="generate"
            )
            used = body.get("usage") or {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{self._address}: not an answer of chat completions ({error})") from None
        usage = ModelUsage(
            input_tokens=used.get("prompt_tokens", 0), output_tokens=used.get("completion_tokens", 0),
            total_tokens=used.get("total_tokens", 0),
        )  # fmt: skip
        choice = ChatCompletionChoice(message=message, stop_reason="stop")
        return ModelOutput(model=self.model_name, choices=[choice], usage=usage, time=reply.elapsed.total_seconds())


PROVIDER = modelapi(name="served")(ServedModel)


def _message(message: ChatMessage) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role, "content": message.content}
    return {"role": message.role, "content": [_part(one) for one in message.content]}


def _part(content: Content) -> dict[str, Any]:
    if isinstance(content, ContentText):
        return {"type": "text", "text": content.text}
    if isinstance(content, ContentAudio):
        again = sound(*read_sound(content))                             # a file becomes a data URI
        return {"type": "input_audio", "input_audio": {"data": again.audio.split(",", 1)[1], "format": "wav"}}
    if isinstance(content, ContentImage):
        shown = content if content.image.startswith("data:") else picture(read_picture(content))
        return {"type": "image_url", "image_url": {"url": shown.image}}
    raise InputError(f"{content.type}: chat completions take text, audio and images; leave it out")


def _contents(message: dict[str, Any]) -> list[Content]:
    """Text, or the transcript of what is said, or that it is refused, and the sound itself."""
    audio = message.get("audio") or {}
    text = message.get("content") or audio.get("transcript") or message.get("refusal") or ""
    contents: list[Content] = [ContentText(text=text)]
    if data := audio.get("data"):
        try:
            wave, rate = soundfile.read(io.BytesIO(base64.b64decode(data, validate=True)), dtype="float32")
        except (binascii.Error, soundfile.LibsndfileError) as error:
            raise ValueError(f"its sound cannot be read: {error}") from None
        contents.append(sound(wave, rate))
    return contents
