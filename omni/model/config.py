"""Shape of a model, the named presets, and what they cost in parameters and FLOPs."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from omni.errors import InputError
from omni.vocab import Vocabulary


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's slower rotations, for more steps than the `steps` that it was first trained on.

    Rotations with fewer than `low` turns in those steps are slowed down by `factor`, those with more than `high` are
    kept, and what lies between is interpolated.
    """

    factor: float
    low: float
    high: float
    steps: int


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only Transformer (pre-norm RMSNorm, RoPE, grouped-query attention, SwiGLU).

    The fields from vocab_size to layout follow from the vocabulary: see `for_vocabulary`.
    qk_norm and z_loss keep mixed modalities stable (Chameleon 2024). `prefix` lets a prompt's steps see each other.
    text_weight: of text and control tokens in the loss that is minimised; speech has many more codes than its text has
    tokens.
    weight_bits: 1 for blocks of one-bit matrices (omni.model.binary), 32 for floats; activation_bits: 1 where their
    inputs are one-bit, too; inner_norms: the norms and the way around attention's projection that one-bit blocks need
    (Zhang et al. 2023, section 4.2), which have no weights.
    head_size (of each head, where that is not d_model / n_heads), rope_scaling and qkv_bias serve imported models.
    """

    d_model: int = 320
    n_layers: int = 8
    n_heads: int = 5
    n_kv_heads: int = 5
    d_ff: int = 864
    vocab_size: int = 0
    channels: int = 1
    codebook_size: int = 0
    audio_start: int = 0
    layout: str = "flat"
    depth_layers: int = 2
    max_steps: int = 2048
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    qk_norm: bool = True
    z_loss: float = 1e-4
    text_weight: float = 1.0
    tie_embeddings: bool = True
    prefix: bool = False
    weight_bits: int = 32
    activation_bits: int = 32
    inner_norms: bool = False
    head_size: int | None = None
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = False

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff", "channels", "max_steps"):
            if getattr(self, name) <= 0:
                raise InputError(f"model.{name}: must be positive, got {getattr(self, name)}")
        for name in ("text_weight", "rope_theta"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"model.{name}: must be positive, got {getattr(self, name)}")
        for name in ("z_loss", "depth_layers"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"model.{name}: must be at least 0, got {getattr(self, name)}")
        for name in ("weight_bits", "activation_bits"):
            if getattr(self, name) not in (1, 32):
                raise InputError(f"model.{name}: must be 1 or 32, got {getattr(self, name)}")
        if self.activation_bits == 1 and not (self.weight_bits == 1 and self.inner_norms):
            raise InputError(                                           # the sign of silu's numbers next to 0 is chance
                "model.activation_bits: 1 is for one-bit weights with the norms around them; set model.weight_bits: 1"
                " and model.inner_norms: true, too"
            )
        if self.head_size is None and self.d_model % 2:                 # no other n_heads would mend it
            raise InputError(
                f"model.d_model: {self.d_model} is odd, which no n_heads divides into heads of an even size (RoPE);"
                f" use a multiple of {2 * self.n_heads}, twice n_heads"
            )
        if self.head_size is None and self.d_model % self.n_heads:
            divisors = [n for n in range(1, 129) if self.d_model % n == 0 and (self.d_model // n) % 2 == 0]
            raise InputError(
                f"model.n_heads: {self.n_heads} does not divide d_model={self.d_model};"
                f" use one of {', '.join(map(str, divisors))}"
            )
        if self.head_dim <= 0 or self.head_dim % 2:
            raise InputError(f"model.n_heads: head size d_model/n_heads={self.head_dim} must be even for RoPE")
        if self.inner_norms and self.n_heads * self.head_dim != self.d_model:
            raise InputError(
                f"model.inner_norms: a way around attention's projection needs n_heads x head_size = d_model, not"
                f" {self.n_heads} x {self.head_dim} and {self.d_model}; leave inner_norms out"
            )
        if self.n_heads % self.n_kv_heads:
            raise InputError(f"model.n_kv_heads: {self.n_kv_heads} does not divide n_heads={self.n_heads}")

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads if self.head_size is None else self.head_size

    def for_vocabulary(self, vocab: Vocabulary) -> "ModelConfig":
        """The same shape over the ids of `vocab`."""
        return replace(
            self,
            vocab_size=len(vocab),
            channels=vocab.channels,
            codebook_size=vocab.codebook_size,
            audio_start=vocab["audio"].start,
            layout=vocab.layout,
        )

    @classmethod
    def preset(cls, name: str) -> "ModelConfig":
        """A named shape. Raises InputError for an unknown name."""
        try:
            return PRESETS[name]
        except KeyError:
            raise InputError(f"model preset {name!r} is unknown; use one of {', '.join(PRESETS)}") from None

    @classmethod
    def parse(cls, values: Any, origin: str) -> "ModelConfig":
        """The config in a dictionary that `asdict` made. Raises InputError naming `origin` and the field at fault."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) - names:
            unknown = ", ".join(sorted(set(values) - names)) if isinstance(values, dict) else "not a mapping"
            raise InputError(f"{origin}: not a model config ({unknown})")
        try:
            scaling = values.get("rope_scaling")
            return cls(**{**values, "rope_scaling": RopeScaling(**scaling) if scaling else None})
        except TypeError as error:
            raise InputError(f"{origin}: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def parameters(self) -> dict[str, int]:
        """Parameters by part; their sum is what the built model has."""
        d = self.d_model
        return {
            "embedding": self.vocab_size * d,
            "blocks": self.n_layers * self._block_parameters(self.n_kv_heads),
            "final_norm": d,
            "output": 0 if self.tie_embeddings else self.vocab_size * d,
            "channel_heads": self._channel_parameters(),
        }

    def _block_parameters(self, n_kv_heads: int) -> int:
        d, q, kv = self.d_model, self.n_heads * self.head_dim, n_kv_heads * self.head_dim
        qk_norms = 2 * self.head_dim if self.qk_norm else 0
        biases = q + 2 * kv if self.qkv_bias else 0
        return 2 * d * q + 2 * d * kv + qk_norms + biases + 3 * d * self.d_ff + 2 * d

    def _channel_parameters(self) -> int:
        d = self.d_model
        if self.channels == 1:
            return 0
        if self.layout == "delay":
            return (self.channels - 1) * d * d
        return self.depth_layers * self._block_parameters(self.n_heads) + d + self.channels * d

    def flops_per_step(self, context: int) -> float:
        """Forward and backward FLOPs for one trained step: 6 a matmul parameter, 12 n_heads head_dim a seen
        step and layer.

        (Kaplan et al. 2020, appendix B; causal attention sees `context`/2 steps on average.)
        """
        parts = self.parameters()
        matmul = parts["blocks"] + self.vocab_size * self.d_model + parts["channel_heads"]
        return 6.0 * matmul + 12.0 * self.n_layers * self.n_heads * self.head_dim * context / 2


PRESETS = {
    "mini": ModelConfig(d_model=192, n_layers=6, n_heads=3, n_kv_heads=3, d_ff=512),
    "tiny": ModelConfig(d_model=320, n_layers=6, n_heads=5, n_kv_heads=5, d_ff=864),
    "small": ModelConfig(d_model=768, n_layers=12, n_heads=12, n_kv_heads=4, d_ff=2048, max_steps=4096),
    "1b": ModelConfig(
        d_model=2048, n_layers=22, n_heads=16, n_kv_heads=8, d_ff=5632, max_steps=8192, tie_embeddings=False
    ),
    "7b": ModelConfig(
        d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_ff=14336, max_steps=8192, rope_theta=500_000.0,
        tie_embeddings=False,
    ),
    "70b": ModelConfig(
        d_model=8192, n_layers=80, n_heads=64, n_kv_heads=8, d_ff=28672, max_steps=8192, rope_theta=500_000.0,
        tie_embeddings=False,
    ),
}  # fmt: skip
