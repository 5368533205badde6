"""Choosing the next id from its scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:                                                       # a door hands samplers on and has no torch
    from torch import Generator, Tensor, device

UNDRAWABLE = (
    "no id can be drawn: a row of scores is NaN, or all of it -inf; the model's weights are damaged or diverged in"
    " training, so use an earlier checkpoint"
)


def seeded(seed: int, device: "device") -> "Generator":
    """A generator of draws on `device`. Raises InputError for a seed that is no number of 64 bits."""
    if not isinstance(seed, Integral) or not -(2**63) <= seed < 2**64:
        raise InputError(f"seed={seed}: must be a whole number that fits into 64 bits; use 0, say")
    from torch import Generator

    return Generator(device).manual_seed(seed)


@dataclass(frozen=True)
class Sampler:
    """Temperature, then top-k, then top-p, then epsilon; a filter at its default keeps everything.

    temperature: divides the scores; 0 always takes the most probable id
    top_k:       keep the k most probable ids (Fan et al. 2018); 0 keeps all
    top_p:       keep the fewest most probable ids that hold this much probability (Holtzman et al. 2020)
    epsilon:     keep ids of at least this probability (Hewitt et al. 2022; Freitag et al. 2023)
    filter_first: filter by the model's own probabilities and heat what is kept, as Freitag et al. define it; otherwise
                 the heated probabilities are filtered, as transformers does. The two differ unless temperature is 1.

    Each filter sees the probabilities as the one before it left them, and the most probable id always stays.
    Raises InputError for a value out of range or of another kind.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    epsilon: float = 0.0
    filter_first: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.temperature, Real) and 0 <= self.temperature < float("inf")):
            raise InputError(f"temperature={self.temperature!r}: must be 0 (the most probable) or more; use 0.8 or so")
        if not isinstance(self.top_k, Integral) or self.top_k < 0:
            raise InputError(f"top_k={self.top_k!r}: must be 0 (off) or a number of ids to keep, such as 50")
        if not (isinstance(self.top_p, Real) and 0 < self.top_p <= 1):
            raise InputError(f"top_p={self.top_p!r}: must lie in 0 < p <= 1; use 1 to keep every id")
        if not (isinstance(self.epsilon, Real) and 0 <= self.epsilon < 1):
            raise InputError(f"epsilon={self.epsilon!r}: must lie in 0 <= epsilon < 1; use 0.02 or so, 0 for off")
        if not isinstance(self.filter_first, bool):
            raise InputError(f"filter_first={self.filter_first!r}: must be True or False")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1

    def __call__(self, logits: "Tensor", generator: "Generator | None" = None) -> "Tensor":
        """Draw an id for every row: scores [..., vocab] to ids [...].

        Raises InputError for what is no tensor of an id or more, for a row with a NaN, and for one of nothing but -inf.
        The latter two only on a CPU: an accelerator would have to be waited for, which `payload` does anyway and looks
        there.
        """
        if self.greedy:
            _check(logits)
            return _highest(logits)
        probs = self.probabilities(logits)                              # [..., vocab]
        race = probs.new_empty(probs.shape).exponential_(generator=generator)
        return _highest(probs / race)                                   # an exponential race draws from probs exactly

    def probabilities(self, logits: "Tensor") -> "Tensor":
        """The distribution that is drawn from: scores [..., vocab] to float32 probabilities of the same shape."""
        _check(logits)
        scores = logits.float()
        if self.greedy:
            return scores.new_zeros(scores.shape).scatter(-1, _highest(scores)[..., None], 1.0)
        if not self.filter_first:
            scores = scores / self.temperature
        if 0 < self.top_k < scores.shape[-1]:
            scores = _only(scores, _in_top_k(scores, self.top_k))
        if self.top_p < 1:
            scores = _only(scores, _in_top_p(scores, self.top_p))
        if self.epsilon > 0:
            probs = scores.softmax(dim=-1)
            scores = _only(scores, (probs >= self.epsilon) | (probs == probs.amax(dim=-1, keepdim=True)))
        if self.filter_first:
            scores = scores / self.temperature
        return scores.softmax(dim=-1)


GREEDY = Sampler(temperature=0)


Samplers = Sampler | Mapping[str, Sampler]                              # one for an answer, or one by modality
DRAWN = ("text", "audio", "image")


def divided(samplers: Samplers | None) -> tuple[Sampler, Mapping[str, Sampler]]:
    """How all ids are drawn, and those of some modalities. Raises InputError for what is neither."""
    if samplers is None or isinstance(samplers, Sampler):
        return samplers or Sampler(), {}
    if not isinstance(samplers, Mapping) or not all(isinstance(one, Sampler) for one in samplers.values()):
        raise InputError(f"sampler={samplers!r}: give an omni.Sampler, or a mapping of modalities to such")
    if unknown := set(samplers) - set(DRAWN):
        raise InputError(f"sampler: {', '.join(map(str, unknown))} is never drawn; use some of {', '.join(DRAWN)}")
    return Sampler(), samplers


def _check(scores: "Tensor") -> None:
    """Raises InputError for what no id can be drawn from, whatever its numbers."""
    from torch import Tensor

    if not isinstance(scores, Tensor):
        raise InputError(f"scores of {type(scores).__name__}: give a tensor [..., vocab], as torch.as_tensor makes it")
    if not scores.ndim or not scores.shape[-1]:
        raise InputError(f"scores of shape {tuple(scores.shape)}: must be [..., vocab] with one id or more")


def _highest(scores: "Tensor") -> "Tensor":
    """The id of the highest score of each row. Raises InputError, on a CPU, where there is none."""
    best, ids = scores.max(dim=-1)
    if best.device.type == "cpu" and best.numel() and not best.min().item() > float("-inf"):
        raise InputError(UNDRAWABLE)                                    # a NaN is the minimum, and above nothing
    return ids


def _only(scores: "Tensor", keep: "Tensor") -> "Tensor":
    return scores.masked_fill(~keep, float("-inf"))


def _in_top_k(scores: "Tensor", k: int) -> "Tensor":
    """Which scores reach the k-th best of their row; equals of the k-th stay too."""
    return ~(scores < scores.topk(k, dim=-1).values[..., -1:])         # a NaN stays, to be found


def _in_top_p(scores: "Tensor", p: float) -> "Tensor":
    """Which ids are needed, most probable first, until their probabilities add up to p."""
    ranked, order = scores.sort(dim=-1, descending=True, stable=True)
    probs = ranked.softmax(dim=-1)
    before = probs.cumsum(dim=-1) - probs                               # probability of everything ranked above
    keep = before < p
    keep[..., 0] = True
    return keep.new_zeros(keep.shape).scatter(-1, order, keep)
