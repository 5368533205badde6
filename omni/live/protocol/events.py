"""Client events, checked against the openai package's own types, and server events."""

import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from openai.types.realtime import (
    ConversationItemCreateEvent,
    ConversationItemDeleteEvent,
    ConversationItemRetrieveEvent,
    ConversationItemTruncateEvent,
    InputAudioBufferAppendEvent,
    InputAudioBufferClearEvent,
    InputAudioBufferCommitEvent,
    OutputAudioBufferClearEvent,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
    RealtimeSessionCreateRequest,
    RealtimeTranscriptionSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
)
from pydantic import BaseModel, ValidationError

log = logging.getLogger("omni.live")

Event = dict[str, Any]
SLICE = 32_000                                                          # letters of base64: half a second of PCM16
MOST_VALUES = 20_000                                                    # of one event: more would keep others waiting
TOO_LONG = "context_length_exceeded"                                    # the code that OpenAI's clients look for
EXACT = 2**53                                                           # up to which a float is every whole number

KINDS: dict[str, type[BaseModel]] = {
    "session.update": SessionUpdateEvent,
    "input_audio_buffer.append": InputAudioBufferAppendEvent,
    "input_audio_buffer.commit": InputAudioBufferCommitEvent,
    "input_audio_buffer.clear": InputAudioBufferClearEvent,
    "output_audio_buffer.clear": OutputAudioBufferClearEvent,
    "conversation.item.create": ConversationItemCreateEvent,
    "conversation.item.delete": ConversationItemDeleteEvent,
    "conversation.item.retrieve": ConversationItemRetrieveEvent,
    "conversation.item.truncate": ConversationItemTruncateEvent,
    "response.create": ResponseCreateEvent,
    "response.cancel": ResponseCancelEvent,
}
SESSIONS: dict[str, type[BaseModel]] = {
    "realtime": RealtimeSessionCreateRequest,
    "transcription": RealtimeTranscriptionSessionCreateRequest,
}

MESSAGES: dict[str, type[BaseModel]] = {
    "user": RealtimeConversationItemUserMessage,
    "assistant": RealtimeConversationItemAssistantMessage,
    "system": RealtimeConversationItemSystemMessage,
}
ITEMS: dict[str, type[BaseModel] | None] = {
    "message": None,                                                    # by its role
    "function_call": RealtimeConversationItemFunctionCall,
    "function_call_output": RealtimeConversationItemFunctionCallOutput,
}

MOVED = {                                                               # settings of the beta shape, and where they are
    "modalities": "output_modalities", "max_response_output_tokens": "max_output_tokens",
    "voice": "audio.output.voice", "speed": "audio.output.speed", "output_audio_format": "audio.output.format",
    "input_audio_format": "audio.input.format", "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction", "turn_detection": "audio.input.turn_detection",
}  # fmt: skip


class RefusedError(Exception):
    """A client event that cannot be carried out; it is answered by an `error` event and changes nothing."""

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


def parsed(text: str | bytes) -> Event:
    """A client event as JSON; of which shape, `check` knows. Raises RefusedError for what is none."""
    try:
        event = json.loads(text, parse_constant=_no_constant, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the message is not JSON ({error}); send one event a message", "invalid_json") from None
    if not isinstance(event, dict):
        raise RefusedError("the message is JSON but no object; send an event with a type", "invalid_json")
    return event


def check(event: Event, escaped: bool) -> None:
    """Raise RefusedError unless an event is of one of `KINDS` and of its shape; escaped: whether letters of it were
    written as numbers, which may be of none.
    """
    if escaped and not writable(event):
        raise RefusedError("the message has half of a surrogate pair, which is no letter; send both", "invalid_json")
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(KINDS)
        raise RefusedError(f"unknown event type {_short(kind)}; the client events are {known}", "unknown_event", "type")
    if kind == "session.update":
        _check_one(SESSIONS, event.get("session"), "session")
    elif kind == "conversation.item.create":
        _check_one(ITEMS, event.get("item"), "item")
    _check(KINDS[kind], _without_input(event) if kind == "response.create" else event, "")
    response = event.get("response") if kind == "response.create" else None
    if response and response.get("conversation") not in (None, "auto", "none"):
        raise RefusedError("use auto or none", param="response.conversation")
    where = {"session.update": "session", "response.create": "response"}.get(kind, "")
    if moved := next((name for name in event.get(where) or () if name in MOVED), None):
        message = f"{where}.{moved} is of the retired beta shape; use {where}.{MOVED[moved]}"
        raise RefusedError(message, "unknown_parameter", f"{where}.{moved}")


def slices(text: str) -> list[str]:
    """A message, or for one with much sound several that say the same, so that other sessions need not wait for it."""
    if len(text) < 2 * SLICE or '"input_audio_buffer.append"' not in text:
        return [text]
    try:
        event = json.loads(text)
        sound = event["audio"] if event["type"] == "input_audio_buffer.append" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return [text]
    if not isinstance(sound, str):
        return [text]
    return [json.dumps({**event, "audio": sound[at : at + SLICE]}) for at in range(0, len(sound), SLICE)]


def event_id(event: Event) -> str | None:
    """The id that the client gave its event, as far as it gave one."""
    found = event.get("event_id")
    return found if isinstance(found, str) and writable(found) else None


def server(kind: str, **fields: Any) -> Event:
    """A server event of this type."""
    return {"type": kind, "event_id": fresh("event"), **fields}


def error(message: str, code: str | None, param: str | None = None, cause: str | None = None, kind: str = "") -> Event:
    """The event that tells what is wrong; cause: id of the client's event."""
    about = {"type": kind or "invalid_request_error", "code": code, "message": message, "param": param}
    return server("error", error={**about, "event_id": cause})


def fault(failure: Exception, cause: str | None = None) -> Event:
    """The event that tells of a fault of ours, which costs the client one event and nobody else anything."""
    log.error("a session failed at an event", exc_info=failure)
    message = f"the server failed at it ({type(failure).__name__}); the session goes on"
    return error(message, "server_error", cause=cause, kind="server_error")


def failure(fault: bool, full: bool, long: bool = False) -> tuple[str, str]:
    """Code and kind of what the model did not do: by a fault of ours, for want of memory, because it is too long for
    it, or because it cannot.
    """
    if full:
        return "server_full", "server_error"
    if long:
        return TOO_LONG, "invalid_request_error"
    return ("model_failed", "server_error") if fault else ("model_refused", "invalid_request_error")


def transcription(what: str, item: str, **fields: Any) -> Event:
    """An event about what was said in an item and is written down; what: delta, completed or failed."""
    return server(f"conversation.item.input_audio_transcription.{what}", item_id=item, content_index=0, **fields)


def usage(heard: Mapping[str, int], said: Mapping[str, int]) -> Event:
    """The bill of a response, in codes of each modality."""
    pictures = heard.get("image", 0) + heard.get("video", 0)
    given = {"text_tokens": heard.get("text", 0), "audio_tokens": heard.get("audio", 0), "image_tokens": pictures}
    taken = {f"{name}_tokens": said.get(name, 0) for name in ("text", "audio")}
    total_in, total_out = sum(given.values()), sum(said.values())
    return {
        "total_tokens": total_in + total_out, "input_tokens": total_in, "output_tokens": total_out,
        "input_token_details": {**given, "cached_tokens": 0}, "output_token_details": taken,
    }  # fmt: skip


def transcription_usage(heard: int, steps: int) -> Event:
    """The bill of a transcript: codes of sound, and steps of the model that wrote it down."""
    count = {"input_tokens": heard, "output_tokens": steps, "total_tokens": heard + steps}
    return {"type": "tokens", **count, "input_token_details": {"audio_tokens": heard, "text_tokens": 0}}


def fresh(kind: str) -> str:
    """An id that nobody has yet or can guess, such as `item_3f…`."""
    return f"{kind}_{secrets.token_hex(10)}"


def writable(value: Any) -> bool:
    """Whether all letters of it can be sent and written."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _check_one(kinds: Mapping[str, type[BaseModel] | None], value: Any, where: str, by: str = "type") -> None:
    """The union of kinds says little about what is wrong, so the one that is meant is asked alone."""
    if not isinstance(value, dict):
        return                                                          # the event's own type says so
    kind = value.get(by)
    if kind is None:
        raise RefusedError(f"{where}.{by}: Field required", "missing_required_parameter", f"{where}.{by}")
    if not isinstance(kind, str) or kind not in kinds:
        raise RefusedError(f"{where}.{by} is {_short(kind)}; use {', '.join(kinds)}", param=f"{where}.{by}")
    model = kinds[kind]
    if model is None:
        _check_one(MESSAGES, value, where, "role")
    else:
        _check(model, value, f"{where}.")


def _check(model: type[BaseModel], value: Any, prefix: str) -> None:
    try:
        model.model_validate(value, strict=True)                        # what is used is what was sent, not its cast
    except ValidationError as error:
        first = min(error.errors(include_url=False), key=lambda found: _distance(found["loc"]))
        names = [str(part) for part in first["loc"] if isinstance(part, int) or _is_name(part)]
        where = prefix + ".".join(names)
        kind = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        raise RefusedError(f"{where}: {first['msg']}", kind, where) from None
    except RecursionError:
        raise RefusedError("the event is nested too deeply", "invalid_value") from None


def _without_input(event: Event) -> Event:
    """A response.create without its items, which are checked one by one: the package's type knows no references."""
    response = event.get("response")
    given = response.get("input") if isinstance(response, dict) else None
    if not isinstance(response, dict) or not isinstance(given, list):
        return event
    for index, item in enumerate(given):
        where = f"response.input.{index}"
        if not isinstance(item, dict):
            raise RefusedError(f"{where}: give an item or a reference to one", param=where)
        if item.get("type") == "item_reference":
            if not isinstance(item.get("id"), str):
                raise RefusedError(f"{where}.id: name an item", "missing_required_parameter", f"{where}.id")
        else:
            _check_one(ITEMS, item, where)
    return {**event, "response": {**response, "input": None}}


def _distance(where: tuple[int | str, ...]) -> tuple[int, bool]:
    """From what is most probably meant: a union's members that the value is not meant for complain of its type."""
    return len(where), where[-1:] == ("type",)


def _is_name(part: str) -> bool:
    """Whether it names a field, and not a type that the value was tried as."""
    return part.isidentifier() and part.islower() and part not in ("bool", "float", "int", "str")


def _number(text: str) -> float:
    """JSON has one kind of number: 500.0 is 500."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON knows no {name}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
