"""What an answer is to be: the fields that our providers read in `extra_body` of Inspect's generation settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inspect_ai.model import GenerateConfig

from omni.decode.pipeline import WANTED, How
from omni.decode.samplers import GREEDY, Sampler
from omni.errors import InputError

SAMPLERS = {                                                            # where a task names none: docs/abilities.md
    "text": GREEDY,
    "audio": Sampler(temperature=0.5, top_p=0.9),                       # greedy speech falls silent or repeats itself
    "image": Sampler(temperature=0.9, top_p=0.9),
}
MOST_TOKENS, MOST_SECONDS = 80, 6.0


@dataclass(frozen=True)
class Wish:
    """An answer of these modalities, or which of `choices` the model finds likeliest.

    language: of text and speech; voice: of speech; choices: compared by mean log-likelihood a token; score: a text
    whose log-likelihood is all that is asked for; verbatim: what is heard, written down and not answered
    """

    want: tuple[str, ...] = ("text",)
    language: str | None = None
    voice: str | None = None
    choices: tuple[str, ...] = ()
    score: str | None = None
    sampler: tuple[tuple[str, Sampler], ...] = tuple(SAMPLERS.items())
    max_tokens: int = MOST_TOKENS
    max_seconds: float = MOST_SECONDS
    seed: int = 0
    verbatim: bool = False

    @property
    def drawn(self) -> bool:
        """Whether chance has a part in the answer."""
        return any(not dict(self.sampler)[modality].greedy for modality in self.want)

    @property
    def how(self) -> How:
        return How(
            language=self.language, voice=self.voice, sampler=dict(self.sampler), seed=self.seed,
            max_tokens=self.max_tokens, max_seconds=self.max_seconds, verbatim=self.verbatim,
        )  # fmt: skip


def body(
    want: Sequence[str] = ("text",), language: str | None = None, voice: str | None = None,
    choices: Sequence[str] = (), score: str | None = None, verbatim: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """`extra_body` of a request; modalities and voice are written as OpenAI's chat completions have them."""
    asked: dict[str, Any] = {"modalities": list(want)}
    if "audio" in want:
        asked["audio"] = {"format": "wav", **({"voice": voice} if voice else {})}
    optional = {"language": language, "choices": list(choices), "score": score, "verbatim": verbatim}
    return asked | {name: value for name, value in optional.items() if value}


def wish(config: GenerateConfig) -> Wish:
    """What the settings of a request ask for. Raises InputError for what nobody can give."""
    asked: Mapping[str, Any] = config.extra_body or {}
    want = tuple(asked.get("modalities", ("text",)))
    if not want or set(want) - set(WANTED):
        raise InputError(f"modalities={list(want)}: must be of {', '.join(WANTED)}")
    samplers = dict(SAMPLERS)
    if config.temperature is not None:
        own = Sampler(config.temperature, config.top_k or 0, config.top_p or 1.0)
        samplers = dict.fromkeys(samplers, own)
    return Wish(
        want, asked.get("language"), (asked.get("audio") or {}).get("voice"), tuple(asked.get("choices", ())),
        asked.get("score"), tuple(samplers.items()), config.max_tokens or MOST_TOKENS,
        float(asked.get("max_seconds", MOST_SECONDS)), config.seed or 0,
        bool(asked.get("verbatim", False)),
    )  # fmt: skip
