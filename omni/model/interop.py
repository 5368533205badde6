"""Our weights as those of Hugging Face's Llama, Qwen2 and Qwen3 classes, and back.

The architectures are the same: Qwen3 has QK-norm, Qwen2 biases of queries, keys and values, Llama neither. Ours fuses
these three, and the gate with the up projection, each into one matrix; theirs keep them apart.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

NORMS = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
QK_NORMS = {"attention.q_norm": "self_attn.q_norm", "attention.k_norm": "self_attn.k_norm"}
PROJECTIONS = {"attention.out": "self_attn.o_proj", "feed_forward.down": "mlp.down_proj"}


def to_hugging_face(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Tensors for the class that `hugging_face_twin` makes. Raises InputError for a shape that none of them has."""
    _check(config)
    theirs = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    theirs["lm_head.weight"] = weights["embedding.weight" if config.tie_embeddings else "output.weight"]
    for layer in range(config.n_layers):
        mine, other = f"blocks.{layer}.", f"model.layers.{layer}."
        for ours, name in _renamed(config).items():
            theirs[f"{other}{name}.weight"] = weights[f"{mine}{ours}.weight"]
        for kind in _qkv_kinds(config):
            qkv = weights[f"{mine}attention.qkv.{kind}"].split(_qkv_rows(config))
            for name, part in zip("qkv", qkv, strict=True):
                theirs[f"{other}self_attn.{name}_proj.{kind}"] = part   # [heads * head_dim (, d_model)]
        gate, up = weights[f"{mine}feed_forward.gate_up.weight"].chunk(2)
        theirs[f"{other}mlp.gate_proj.weight"], theirs[f"{other}mlp.up_proj.weight"] = gate, up
    return theirs


def from_hugging_face(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The inverse of `to_hugging_face`: a state dictionary for `OmniTransformer(config)`."""
    _check(config)
    ours = {"embedding.weight": weights["model.embed_tokens.weight"], "norm.weight": weights["model.norm.weight"]}
    if not config.tie_embeddings:
        ours["output.weight"] = weights["lm_head.weight"]
    for layer in range(config.n_layers):
        mine, other = f"blocks.{layer}.", f"model.layers.{layer}."
        for name, their_name in _renamed(config).items():
            ours[f"{mine}{name}.weight"] = weights[f"{other}{their_name}.weight"]
        for kind in _qkv_kinds(config):
            qkv = [weights[f"{other}self_attn.{name}_proj.{kind}"] for name in "qkv"]
            ours[f"{mine}attention.qkv.{kind}"] = torch.cat(qkv)
        gate_up = [weights[f"{other}mlp.{name}_proj.weight"] for name in ("gate", "up")]
        ours[f"{mine}feed_forward.gate_up.weight"] = torch.cat(gate_up)
    return ours


def hugging_face_config(config: ModelConfig) -> "PreTrainedConfig":
    """The shape as transformers writes it. Raises InputError for one that no class there has."""
    import transformers

    _check(config)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if (scaling := config.rope_scaling) is not None:
        rope |= {
            "rope_type": "llama3", "factor": scaling.factor, "low_freq_factor": scaling.low,
            "high_freq_factor": scaling.high, "original_max_position_embeddings": scaling.steps,
        }  # fmt: skip
    shape: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_steps,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": rope,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    name = "Qwen3" if config.qk_norm else "Qwen2" if config.qkv_bias else "Llama"
    shape |= {"architectures": [f"{name}ForCausalLM"], "dtype": "float32"}
    theirs: PreTrainedConfig = getattr(transformers, f"{name}Config")(**shape)
    return theirs


def hugging_face_twin(model: OmniTransformer) -> "PreTrainedModel":
    """A transformers model with the same weights, in evaluation mode: the peer of tests and benchmarks."""
    import transformers

    theirs = hugging_face_config(model.config)
    twin: PreTrainedModel = getattr(transformers, theirs.architectures[0])(theirs)
    twin.load_state_dict(to_hugging_face(model.state_dict(), model.config))
    return twin.eval()


def _renamed(config: ModelConfig) -> dict[str, str]:
    return {**NORMS, **PROJECTIONS, **(QK_NORMS if config.qk_norm else {})}


def _qkv_rows(config: ModelConfig) -> list[int]:
    return [heads * config.head_dim for heads in (config.n_heads, config.n_kv_heads, config.n_kv_heads)]


def _qkv_kinds(config: ModelConfig) -> list[str]:
    return ["weight", "bias"] if config.qkv_bias else ["weight"]


def _check(config: ModelConfig) -> None:
    if config.channels > 1:
        raise InputError(
            f"a model with {config.channels} channels a step has heads that Llama, Qwen2 and Qwen3 lack;"
            " only the flat audio layout has one"
        )
    if config.weight_bits == 1:
        raise InputError(
            "a model of one-bit matrices has no class in transformers; `omni export --packed` writes it for omni"
        )
    if config.inner_norms:
        raise InputError("a model with inner_norms has no class in transformers; train without to export it")
    if config.qk_norm and config.qkv_bias:
        raise InputError("a model with both QK-norm and biases is neither Qwen2, which lacks one, nor Qwen3, the other")
