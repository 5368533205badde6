"""The shape that a checkpoint's config.json tells, or the feature that our model lacks."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError
from omni.files import read_json
from omni.model.config import ModelConfig, RopeScaling

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

KINDS = {"llama": "LlamaConfig", "mistral": "MistralConfig", "qwen2": "Qwen2Config", "qwen3": "Qwen3Config"}


def read_shape(folder: Path | str, max_steps: int | None = None) -> ModelConfig:
    """The shape of the checkpoint in a folder over its own ids.

    max_steps: the longest stream, at most (and by default) what the checkpoint was trained for.
    Raises InputError for another architecture and for any option that would change what it computes.
    """
    path = Path(folder) / "config.json"
    theirs = _parse(read_json(path), path)
    _check(theirs, path)
    rope, trained = theirs.rope_parameters, int(theirs.max_position_embeddings)
    if max_steps is not None and not 0 < max_steps <= trained:
        raise InputError(f"--max-steps {max_steps}: must lie in 1..{trained}, what the checkpoint was trained for")
    head_size = int(getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads)
    usual = head_size * theirs.num_attention_heads == theirs.hidden_size
    try:
        shape = ModelConfig(
            d_model=theirs.hidden_size,
            n_layers=theirs.num_hidden_layers,
            n_heads=theirs.num_attention_heads,
            n_kv_heads=theirs.num_key_value_heads,
            d_ff=theirs.intermediate_size,
            vocab_size=theirs.vocab_size,
            max_steps=max_steps or trained,
            rope_theta=float(rope["rope_theta"]),
            norm_eps=theirs.rms_norm_eps,
            qk_norm=theirs.model_type == "qwen3",
            tie_embeddings=theirs.tie_word_embeddings,
            head_size=None if usual else head_size,
            rope_scaling=_scaling(rope, path),
            qkv_bias=theirs.model_type == "qwen2",
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    _check_window(theirs, shape.max_steps, path)
    return shape


def _parse(values: Any, path: Path) -> "PreTrainedConfig":
    """The values with the defaults of their class in transformers, which writes older names anew."""
    import transformers

    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in KINDS:
        raise InputError(f"{path}: a model of type {kind!r} cannot be imported; use one of {', '.join(KINDS)}")
    if values.get("quantization_config"):
        raise InputError(f"{path}: quantization_config: its weights are quantized; take the checkpoint in bf16 or fp32")
    try:
        return getattr(transformers, KINDS[kind]).from_dict(values)
    except Exception as error:                                          # its validators raise what they like
        told = " ".join(str(error).split())
        raise InputError(f"{path}: no {kind} config ({told}); copy it again") from None


def _check(theirs: "PreTrainedConfig", path: Path) -> None:
    for name in ("attention_bias", "mlp_bias"):
        if getattr(theirs, name, False):
            raise InputError(f"{path}: {name}: our model has no such biases, so this checkpoint cannot be imported")
    if theirs.hidden_act not in ("silu", "swish"):
        raise InputError(f"{path}: hidden_act: {theirs.hidden_act} is not supported, only silu is")
    if "rope_theta" not in (theirs.rope_parameters or {}):
        raise InputError(f"{path}: rope_parameters: one rope_theta for all layers is missing; more are not supported")
    if theirs.rope_parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise InputError(f"{path}: partial_rotary_factor: only rotations of whole heads are supported")


def _scaling(rope: dict[str, Any], path: Path) -> RopeScaling | None:
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    if kind != "llama3":
        raise InputError(f"rope_type: {kind} is not supported, only default and llama3 are")
    try:
        low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
        scaling = RopeScaling(float(rope["factor"]), low, high, int(rope["original_max_position_embeddings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"rope_parameters: llama3 without a proper {error}; copy the file again") from None
    if not 0 < low < high or scaling.factor <= 0 or scaling.steps <= 0:
        raise InputError("rope_parameters: llama3 needs factors above 0 and low_freq_factor below high_freq_factor")
    return scaling


def _check_window(theirs: "PreTrainedConfig", max_steps: int, path: Path) -> None:
    """A sliding window as long as the longest stream sees everything, so it changes nothing."""
    window = getattr(theirs, "sliding_window", None)
    kinds = getattr(theirs, "layer_types", None) or ["sliding_attention"]
    if window is not None and window < max_steps and "sliding_attention" in kinds:
        raise InputError(
            f"{path}: sliding_window: {window} is shorter than the {max_steps} steps of the longest stream;"
            f" use --max-steps {window}"
        )
