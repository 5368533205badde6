"""Any model behind OpenAI's chat completions, sound and all: `--model served/NAME --base-url ADDRESS`.

Inspect's own provider for such endpoints drops the sound of an answer; this one keeps it. Speech is asked for with its
text, as those endpoints give it; pictures are drawn by `/images/generations` beside them. What a guard of theirs
refuses or cuts off is a refusal, in whatever words, and whatever had been said by then. What they have no form for,
such as an animation, is an error of its sample, and so is an answer without the sound that was asked for. A request
that fails for a reason that may pass is tried again, as often as `max_retries` says, or else three times; then its
sample is an error, and the others go on. Settings are passed on, and those that have no form here are refused, as tools
are; of pictures there are none but the words.
"""

import asyncio
import base64
import binascii
import io
import os
from collections.abc import Sequence
from typing import Any, Literal

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
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolInfo

from omni.errors import InputError
from omni.eval.inspected.kept import KeptModel
from omni.eval.inspected.messages import INSTRUCTION, frames, picture, read_picture, read_sound, sound
from omni.eval.inspected.plainly import plainly

KEY = "OPENAI_API_KEY"                                                  # environment, where an endpoint wants one
PASSING = {408, 409, 425, 429, 500, 502, 503, 504}                      # answers that may be others the next time
FILTERED = {"content_filter", "content_policy_violation", "moderation_blocked"}  # codes of errors that are refusals
REFUSED = "I can't help with that."                                     # of every refusal: graders know these words
VOICE = "alloy"                                                         # which all of these endpoints have
SECONDS = 120.0
PAUSES = (3.0, 6.0, 12.0)                                               # before a request is tried again
FAILURES = (httpx.TransportError, httpx.HTTPStatusError)                # that may pass
SETTINGS = {                                                            # Inspect's names, and the endpoints'
    **{name: name for name in ("temperature", "top_p", "top_k", "max_tokens", "seed")}, "stop_seqs": "stop",
    **{name: name for name in ("frequency_penalty", "presence_penalty", "logit_bias")},
}  # fmt: skip
FORMLESS = (
    "best_of", "num_choices", "logprobs", "top_logprobs", "prompt_logprobs", "response_schema", "extra_headers",
    "effort", "reasoning_effort", "reasoning_tokens", "reasoning_summary", "verbosity", "modalities",
)  # fmt: skip


class ServedModel(KeptModel):
    """Text, sound and pictures in, text, sound and pictures out, by HTTP."""

    @plainly
    def __init__(
        self, model_name: str, base_url: str | None = None, api_key: str | None = None,
        config: GenerateConfig | None = None,
    ) -> None:  # fmt: skip
        """Raises InputError without an address."""
        super().__init__(model_name, base_url, api_key, [KEY], config or GenerateConfig())
        if not base_url:
            raise InputError(f"served/{model_name}: no address; give --base-url, such as that of `omni serve`")
        self._base = base_url.rstrip("/")
        self._gone = False                                              # nobody was there for all tries of a request

    async def answer(self, input: list[ChatMessage], tools: list[ToolInfo], config: GenerateConfig) -> ModelOutput:
        """The answer. Raises InputError for what the endpoint refuses and what it cannot be asked for.

        What may pass raises httpx's errors where Inspect counts retries, and ConnectionError once ours are used up:
        without `max_retries` Inspect would never end. Where nobody was there for all of them, the next requests are
        tried once each until somebody is: a suite does not wait for each of its samples.
        """
        _refuse_formless(self.model_name, tools, config)
        pauses = PAUSES if config.max_retries is None and not self._gone else ()
        for pause in pauses:
            try:
                return await self._answered(input, config)
            except FAILURES:
                await asyncio.sleep(pause)
        try:
            return await self._answered(input, config)
        except FAILURES as error:
            self._gone = isinstance(error, httpx.ConnectError)
            if config.max_retries is not None:
                raise
            tried = f"tried {len(pauses) + 1} times" if pauses else "tried once, since it was gone before"
            raise ConnectionError(f"{self._base}: {tried} ({error!r})") from error

    async def _answered(self, input: list[ChatMessage], config: GenerateConfig) -> ModelOutput:
        want = (config.extra_body or {}).get("modalities", ["text"])
        if "image" in want:
            if len(want) > 1:
                raise InputError(f"{self._base}: draws, or says and writes; ask for an image alone")
            return await self._drawn(input)
        asked: dict[str, Any] = {"model": self.model_name, "messages": [_message(one) for one in input]}
        for ours, theirs in SETTINGS.items():
            if (value := getattr(config, ours)) is not None:
                asked[theirs] = value
        asked |= _shaped(config.extra_body or {})
        reply = await self._post("chat/completions", asked)
        return self._said(reply, "audio" in want) if reply.is_success else _refusal(self.model_name, reply)

    def should_retry(self, ex: Exception) -> bool:
        return isinstance(ex, FAILURES)

    async def count_text_tokens(self, text: str) -> int:
        """By its bytes: the endpoint's own count comes with the answer."""
        return len(text.encode()) // 4

    async def count_media_tokens(self, media: Any) -> int:
        return 0

    async def _post(self, path: str, asked: dict[str, Any]) -> httpx.Response:
        """The reply: an answer, or an error by which a guard refuses one."""
        key = self.api_key or os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            reply = await client.post(f"{self._base}/{path}", json=asked, headers=headers)
        self._gone = False
        if reply.status_code in PASSING:
            reply.raise_for_status()
        if not reply.is_success and _code(reply) not in FILTERED:
            raise InputError(f"{self._base}/{path}: {reply.status_code} {reply.text[:200]}")
        return reply

    async def _drawn(self, input: list[ChatMessage]) -> ModelOutput:
        """A picture of what was asked in writing; the endpoint does nothing but draw, and is not told to."""
        contents = [one for message in input for one in _contents_of(message)]
        if strange := [one.type for one in contents if not isinstance(one, ContentText)]:
            raise InputError(f"{self._base}/images/generations: draws what is written; leave the {strange[0]} out")
        prompt = "\n".join(one.text for one in contents if isinstance(one, ContentText) and one.internal != INSTRUCTION)
        reply = await self._post("images/generations", {"model": self.model_name, "prompt": prompt, "n": 1})
        if not reply.is_success:
            return _refusal(self.model_name, reply)
        try:
            made = [str(one["b64_json"]) for one in reply.json()["data"]]
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{reply.url}: gave no picture as b64_json ({error!r})") from None
        shown = [ContentImage(image=f"data:image/png;base64,{one}") for one in made]
        return _output(self.model_name, [picture(read_picture(one)) for one in shown], reply)

    def _said(self, reply: httpx.Response, aloud: bool) -> ModelOutput:
        try:
            body = reply.json()
            choice = body["choices"][0]
            contents, refusal = _contents(choice["message"]), choice["message"].get("refusal")
            reason, used = choice.get("finish_reason"), body.get("usage") or {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{reply.url}: not an answer of chat completions ({error})") from None
        usage = ModelUsage(
            input_tokens=used.get("prompt_tokens", 0), output_tokens=used.get("completion_tokens", 0),
            total_tokens=used.get("total_tokens", 0),
        )  # fmt: skip
        if refusal or reason == "content_filter":                       # what was said before it was cut is kept aside
            return _refusal(self.model_name, reply, refusal, contents, usage)
        if aloud and not any(isinstance(one, ContentAudio) for one in contents):
            raise InputError(f"{reply.url}: was asked for speech, and answered without a sound")
        return _output(self.model_name, contents, reply, "max_tokens" if reason == "length" else "stop", usage)


PROVIDER = modelapi(name="served")(ServedModel)


def _refuse_formless(name: str, tools: Sequence[ToolInfo], config: GenerateConfig) -> None:
    """Raises InputError for what would be dropped without a word."""
    if tools:
        raise InputError(f"{name}: served/ passes no tools on; leave {tools[0].name} out")
    if asked := [one for one in FORMLESS if getattr(config, one) is not None]:
        raise InputError(f"{name}: served/ passes no {asked[0]} on; leave it out")


def _shaped(extra: dict[str, Any]) -> dict[str, Any]:
    """What is wished for as these endpoints take it: speech comes with its text only, in a voice that is named."""
    if "audio" not in extra.get("modalities", ()):
        return extra
    aloud = {"voice": VOICE, "format": "wav", **extra.get("audio", {})}
    return {**extra, "modalities": ["text", "audio"], "audio": aloud}


def _code(reply: httpx.Response) -> str | None:
    """Of an error, as OpenAI's error object has it."""
    try:
        return str(reply.json()["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return None


def _refusal(
    model: str, reply: httpx.Response, told: str | None = None, before: Sequence[Content] = (),
    usage: ModelUsage | None = None,
) -> ModelOutput:  # fmt: skip
    """An answer in our words, since graders look at nothing else. told: the endpoint's own, which are kept aside."""
    said = "".join(one.text for one in before if isinstance(one, ContentText))
    aside = {"said_before": said, "refusal": told}
    return _output(model, [ContentText(text=REFUSED)], reply, "content_filter", usage, aside)


def _output(
    model: str, contents: Sequence[Content], reply: httpx.Response,
    why: Literal["stop", "max_tokens", "content_filter"] = "stop", usage: ModelUsage | None = None,
    metadata: dict[str, Any] | None = None,
) -> ModelOutput:  # fmt: skip
    message = ChatMessageAssistant(content=list(contents), model=model, source="generate")
    return ModelOutput(
        model=model, choices=[ChatCompletionChoice(message=message, stop_reason=why)], usage=usage or ModelUsage(),
        time=reply.elapsed.total_seconds(), metadata=metadata,
    )  # fmt: skip


def _contents_of(message: ChatMessage) -> list[Content]:
    return [ContentText(text=message.content)] if isinstance(message.content, str) else list(message.content)


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
        if frames(content) > 1:
            raise InputError("animation: chat completions have no form for it; leave this task out")
        shown = content if content.image.startswith("data:") else picture(read_picture(content))
        return {"type": "image_url", "image_url": {"url": shown.image}}
    raise InputError(f"{content.type}: chat completions take text, audio and images; leave it out")


def _contents(message: dict[str, Any]) -> list[Content]:
    """Text, or the transcript of what is said; the sound itself; pictures, in either place where servers put them."""
    said, audio = message.get("content"), message.get("audio") or {}
    listed = said if isinstance(said, list) else []
    text = "".join(one["text"] for one in listed if one.get("type") == "text") if listed else said
    contents: list[Content] = [ContentText(text=text or audio.get("transcript") or "")]
    if data := audio.get("data"):
        try:
            wave, rate = soundfile.read(io.BytesIO(base64.b64decode(data, validate=True)), dtype="float32")
        except (binascii.Error, soundfile.LibsndfileError) as error:
            raise ValueError(f"its sound cannot be read: {error}") from None
        contents.append(sound(wave, rate))
    shown = [one for one in [*listed, *(message.get("images") or [])] if one.get("type") == "image_url"]
    contents += [picture(read_picture(ContentImage(image=one["image_url"]["url"]))) for one in shown]
    return contents
