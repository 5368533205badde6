"""Our weights as those of Hugging Face's Llama and Qwen3 classes, and back.

The architectures are the same: Llama without QK-norm, Qwen3 with it. Ours fuses queries, keys and values, and the gate
with the up projection, each into one matrix; theirs keep them apart.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NORMS = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
QK_NORMS = {"attention.q_norm": "self_attn.q_norm", "attention.k_norm": "self_attn.k_norm"}
PROJECTIONS = {"attention.out": "self_attn.o_proj", "feed_forward.down": "mlp.down_proj"}


def to_hugging_face(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Tensors for `LlamaForCausalLM` (no QK-norm) or `Qwen3ForCausalLM`. Raises ValueError for channel heads."""
    _check_one_channel(config)
    theirs = {"model.embed_tokens.weight": weights["embedding.weight"], "model.norm.weight": weights["norm.weight"]}
    theirs["lm_head.weight"] = weights["embedding.weight" if config.tie_embeddings else "output.weight"]
    for layer in range(config.n_layers):
        mine, other = f"blocks.{layer}.", f"model.layers.{layer}."
        for ours, name in _renamed(config).items():
            theirs[f"{other}{name}.weight"] = weights[f"{mine}{ours}.weight"]
        qkv = weights[f"{mine}attention.qkv.weight"].split(_qkv_rows(config))
        for name, part in zip("qkv", qkv, strict=True):
            theirs[f"{other}self_attn.{name}_proj.weight"] = part       # [heads * head_dim, d_model]
        gate, up = weights[f"{mine}feed_forward.gate_up.weight"].chunk(2)
        theirs[f"{other}mlp.gate_proj.weight"], theirs[f"{other}mlp.up_proj.weight"] = gate, up
    return theirs


def from_hugging_face(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The inverse of `to_hugging_face`: a state dictionary for `OmniTransformer(config)`."""
    _check_one_channel(config)
    ours = {"embedding.weight": weights["model.embed_tokens.weight"], "norm.weight": weights["model.norm.weight"]}
    if not config.tie_embeddings:
        ours["output.weight"] = weights["lm_head.weight"]
    for layer in range(config.n_layers):
        mine, other = f"blocks.{layer}.", f"model.layers.{layer}."
        for name, their_name in _renamed(config).items():
            ours[f"{mine}{name}.weight"] = weights[f"{other}{their_name}.weight"]
        qkv = [weights[f"{other}self_attn.{name}_proj.weight"] for name in "qkv"]
        ours[f"{mine}attention.qkv.weight"] = torch.cat(qkv)
        gate_up = [weights[f"{other}mlp.{name}_proj.weight"] for name in ("gate", "up")]
        ours[f"{mine}feed_forward.gate_up.weight"] = torch.cat(gate_up)
    return ours


def hugging_face_twin(model: OmniTransformer) -> "PreTrainedModel":
    """A transformers model with the same weights, in evaluation mode: the peer of tests and benchmarks."""
    import transformers

    config = model.config
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
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if config.qk_norm:
        twin: PreTrainedModel = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape))
    else:
        twin = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    twin.load_state_dict(to_hugging_face(model.state_dict(), config))
    return twin.eval()


def _renamed(config: ModelConfig) -> dict[str, str]:
    return {**NORMS, **PROJECTIONS, **(QK_NORMS if config.qk_norm else {})}


def _qkv_rows(config: ModelConfig) -> list[int]:
    return [heads * config.head_dim for heads in (config.n_heads, config.n_kv_heads, config.n_kv_heads)]


def _check_one_channel(config: ModelConfig) -> None:
    if config.channels > 1:
        raise ValueError(f"a model with {config.channels} channels a step has heads that Llama and Qwen3 lack")
