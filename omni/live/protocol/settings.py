"""What a session is set to: the protocol's `session` object, and what follows from it."""

import copy
import secrets
import time
from collections.abc import Mapping
from typing import Any

from omni.live.engine.messages import Ask, Ready
from omni.live.hearing.pcm import RATES
from omni.live.hearing.turns import EAGERNESS, Rules
from omni.live.protocol import tools
from omni.live.protocol.events import TOO_LONG, RefusedError, fresh

LONGEST_ANSWER = 20.0                                                   # seconds of speech
LONGEST_TEXT = 256                                                      # tokens of a written answer
LONGEST_SENTENCE = 32                                                   # and of one that is then spoken
ROOM = 2048                                                             # steps of a model that speaks so long
# Names that clients of the original service send; each stands for one of the model's own preset voices.
ALIASES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
# What no client sends by default and nothing here comes of, and what to do instead.
UNMET = {
    "prompt": "no prompts are stored here; send instructions",
    "include": "logprobs of a transcript are not told; leave it out",
    "parallel_tool_calls": "an answer may make several calls here; leave it out",
}
SERVER_VAD = {
    "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200,
    "idle_timeout_ms": None, "create_response": True, "interrupt_response": True,
}  # fmt: skip
SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}


class Settings:
    """The session object, changed only as a whole and only to what this model can do."""

    def __init__(self, facts: Ready, seconds: float, kind: str = "realtime") -> None:
        """seconds: how long the session may last; kind: realtime, or transcription, which gives no answers."""
        self.facts = facts
        pcm = {"type": "audio/pcm", "rate": 24_000}
        self.session: dict[str, Any] = {
            "type": "realtime", "object": "realtime.session", "id": fresh("sess"), "model": facts.name,
            "expires_at": int(time.time() + seconds), "output_modalities": ["audio"], "instructions": "",
            "tools": [], "tool_choice": "auto", "max_output_tokens": "inf", "tracing": None, "truncation": "auto",
            "prompt": None, "include": None,
            "audio": {
                "input": {
                    "format": pcm, "transcription": None, "noise_reduction": None, "turn_detection": SEMANTIC_VAD,
                },
                "output": {"format": pcm, "voice": (*facts.voices, None)[0], "speed": 1.0},
            },
        }  # fmt: skip
        self.update({"type": kind})

    def update(self, changes: Mapping[str, Any]) -> None:
        """Take the client's changes. Raises RefusedError, and changes nothing, for what cannot be done."""
        session = copy.deepcopy(self.session)
        given = dict(changes)
        for name, instead in UNMET.items():
            if given.get(name) not in (None, [], True):                 # which want nothing
                raise RefusedError(f"{name}: {instead}", param=f"session.{name}")
        audio = given.pop("audio", None) or {}
        fixed = ("id", "object", "model", "expires_at")
        session |= {name: value for name, value in given.items() if name in session and name not in fixed}
        for side in ("input", "output"):
            known = session["audio"][side]
            side_given = audio.get(side) or {}
            known |= {name: value for name, value in side_given.items() if name in known or name == "language"}
        self._complete(session)
        self.session = session

    def with_response(self, changes: Mapping[str, Any]) -> "Settings":
        """These settings as one `response.create` changes them. Raises RefusedError."""
        other = copy.copy(self)
        names = ("output_modalities", "instructions", "tools", "tool_choice", "max_output_tokens", "audio", *UNMET)
        try:
            other.update({name: changes[name] for name in names if changes.get(name) is not None})
        except RefusedError as error:
            raise RefusedError(str(error), error.code, f"response.{(error.param or '').partition('.')[2]}") from None
        return other

    # ---- what follows

    @property
    def shown(self) -> dict[str, Any]:
        """The session object as clients are told it."""
        if self.answers:
            return self.session
        shown = {name: self.session[name] for name in ("type", "id", "expires_at", "include")}
        heard = {"input": self.session["audio"]["input"]}
        return {**shown, "object": "realtime.transcription_session", "audio": heard}

    @property
    def answers(self) -> bool:
        """Whether this is a conversation: a session of type transcription only writes down what it hears."""
        return bool(self.session["type"] == "realtime")

    @property
    def answers_turns(self) -> bool:
        """Whether a turn that ends by itself is answered."""
        return self.answers and bool((self.turn_detection or {}).get("create_response", True))

    @property
    def interrupted(self) -> bool:
        """Whether an answer stops when the user speaks."""
        return bool((self.turn_detection or {}).get("interrupt_response", True))

    @property
    def input_format(self) -> str:
        return str(self.session["audio"]["input"]["format"]["type"])

    @property
    def output_format(self) -> str:
        return str(self.session["audio"]["output"]["format"]["type"])

    @property
    def speaks(self) -> bool:
        return "audio" in self.session["output_modalities"]

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        """The protocol's object, or None where the client commits by hand."""
        found: dict[str, Any] | None = self.session["audio"]["input"]["turn_detection"]
        return found

    @property
    def rules(self) -> Rules | None:
        vad = self.turn_detection
        if vad is None:
            return None
        if vad["type"] == "semantic_vad":
            patience, longest = EAGERNESS[vad["eagerness"]]
            return Rules(patience=patience, longest_ms=longest)
        silence, idle = vad["silence_duration_ms"], vad["idle_timeout_ms"]
        return Rules(vad["threshold"], vad["prefix_padding_ms"], silence_ms=silence, idle_ms=idle)

    @property
    def transcription(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.session["audio"]["input"]["transcription"]
        return found

    @property
    def voice(self) -> str | None:
        """The model's own voice that the session's name stands for."""
        name = self.session["audio"]["output"]["voice"]
        return preset(name["id"] if isinstance(name, dict) else name, self.facts)

    @property
    def language(self) -> str | None:
        """Of answers: `audio.output.language` (ours), else that of the transcription, else English."""
        transcription = self.transcription or {}
        wanted = self.session["audio"]["output"].get("language") or transcription.get("language") or "en"
        return language_of(wanted, self.facts)

    @property
    def system(self) -> str:
        """What goes before the conversation: the instructions, and which functions there are and how to call them."""
        return _system(self.session)

    @property
    def ask(self) -> Ask:
        """How the model is to answer."""
        limit = self.session["max_output_tokens"]
        most = limit if isinstance(limit, int) else 1 << 30
        how: dict[str, Any] = {"language": self.language, "seed": secrets.randbits(31)}
        if not self.speaks:
            return Ask(("text",), {**how, "max_tokens": min(most, LONGEST_TEXT)})
        scale = min(max(self.facts.max_steps / ROOM, 1), LONGEST_TEXT // LONGEST_SENTENCE)
        longest = LONGEST_TEXT if tools.offered(self.session) else int(LONGEST_SENTENCE * scale)  # a call is not spoken
        seconds = min(most / self.facts.codes_a_second, LONGEST_ANSWER * scale)
        how |= {"voice": self.voice, "max_tokens": min(most, longest), "max_seconds": max(seconds, 0.1)}
        return Ask(("text", "audio"), how)

    # ----

    def _complete(self, session: dict[str, Any]) -> None:
        """Fill in what a client may leave out, and check what its types do not."""
        modalities = session["output_modalities"]
        if modalities not in (["audio"], ["text"]):
            raise RefusedError('use ["audio"] (speech and its text) or ["text"]', param="session.output_modalities")
        audio = session["audio"]
        for side in ("input", "output"):
            encoding = audio[side]["format"] or {"type": "audio/pcm"}
            if encoding.get("type") not in RATES:
                raise RefusedError(f"use one of {', '.join(RATES)}", param=f"session.audio.{side}.format")
            kind = encoding["type"]
            audio[side]["format"] = {"type": kind, "rate": RATES[kind]} if kind == "audio/pcm" else {"type": kind}
        audio["input"]["turn_detection"] = _detection(audio["input"]["turn_detection"])
        if session["type"] == "transcription" and audio["input"]["transcription"] is None:
            audio["input"]["transcription"] = {"model": self.facts.name}
        output = audio["output"]
        output["voice"] = output["voice"] or (*self.facts.voices, None)[0]
        preset(output["voice"]["id"] if isinstance(output["voice"], dict) else output["voice"], self.facts)
        output["speed"] = 1.0 if output["speed"] is None else output["speed"]
        language = output.get("language")
        if language is not None and language_of(language, self.facts) is None:
            message = f"language {language!r} is not one of the model's"
            raise RefusedError(message, param="session.audio.output.language")
        if output["speed"] != 1.0:
            raise RefusedError("this model speaks at its own speed; use 1", param="session.audio.output.speed")
        limit = session["max_output_tokens"]
        if limit is None:
            limit = session["max_output_tokens"] = "inf"
        if isinstance(limit, int) and not 1 <= limit <= 4096:
            raise RefusedError("use 1 to 4096, or inf", param="session.max_output_tokens")
        session["instructions"] = session["instructions"] or ""
        session["tools"] = session["tools"] or []
        session["tool_choice"] = session["tool_choice"] or "auto"
        if why := self.facts.too_long(_system(session)):
            where = "instructions" if self.facts.too_long(session["instructions"]) else "tools"
            raise RefusedError(why, TOO_LONG, f"session.{where}")


def preset(name: str | None, facts: Ready) -> str | None:
    """The model's voice of this name. Raises RefusedError for a voice that it does not have: there are presets only."""
    if name is None or name in facts.voices:
        return name
    if name in ALIASES and facts.voices:
        return facts.voices[ALIASES.index(name) % len(facts.voices)]
    known = ", ".join((*facts.voices, *ALIASES))
    raise RefusedError(f"no such voice {name!r}; use one of {known}", "invalid_value", "session.audio.output.voice")


def language_of(name: object, facts: Ready) -> str | None:
    """The model's language of this code, or of that of a region such as fr-FR; None where it has none."""
    tag = name.lower() if isinstance(name, str) else ""
    return next((str(one) for one in (name, tag.partition("-")[0], tag) if one in facts.languages), None)


def _system(session: dict[str, Any]) -> str:
    """Raises RefusedError for functions that cannot be offered."""
    must = session["tool_choice"] not in ("auto", "none")
    functions = tools.instructions(tools.offered(session), must)
    return "\n".join(filter(None, (session["instructions"], functions)))


def _detection(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    defaults = SEMANTIC_VAD if given.get("type") == "semantic_vad" else SERVER_VAD
    full = {**defaults, **{name: value for name, value in given.items() if name in defaults and value is not None}}
    where = "session.audio.input.turn_detection"
    if full["type"] == "server_vad":
        if not 0 <= full["threshold"] <= 1:
            raise RefusedError("use a probability, 0 to 1", param=f"{where}.threshold")
        for name, most in (("prefix_padding_ms", 5_000), ("silence_duration_ms", 60_000)):
            if not 0 <= full[name] <= most:
                raise RefusedError(f"use milliseconds, 0 to {most}", param=f"{where}.{name}")
        idle = full["idle_timeout_ms"]
        if idle is not None and not 1_000 <= idle <= 600_000:
            raise RefusedError("use milliseconds, 1000 to 600000", param=f"{where}.idle_timeout_ms")
    return full
