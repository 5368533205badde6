"""What autograd saves of the blocks for backward, tensor by tensor, after Korthikanti et al. (2022)."""

from typing import Literal

from omni.model.config import ModelConfig
from omni.train.plan.share import share
from omni.train.recipe import Recipe

Device = Literal["gpu", "cpu"]


def activations(config: ModelConfig, recipe: Recipe, steps: int, device: Device) -> tuple[float, float]:
    """Bytes saved between the embedding and the loss for `steps` steps of one micro-batch, and bytes of recomputing.

    With checkpointing a block keeps its input alone, and backward computes one block at a time again, beside which the
    gradients within that block are alive (Chen et al. 2016).
    """
    wide, config = (2 if recipe.precision == "bf16" else 4), share(config, recipe.parallel.tensor)
    block = steps * block_bytes(config, wide, device) + rounded_bytes(config, wide)
    if device == "gpu" and config.prefix:                               # a bias [rows, steps, steps] parts documents
        block += wide * steps * recipe.sequence_length
    blocks, again = config.n_layers * block, 0.0
    if recipe.activation_checkpointing:
        blocks = float(config.n_layers * steps * wide * config.d_model)
        again = block + steps * wide * (config.d_model + 3 * config.d_ff)
    rope = 2 * steps * config.head_dim * wide
    final = steps * (config.d_model * wide + 4)                         # the last norm
    return blocks + rope + final, again


def block_bytes(config: ModelConfig, wide: int, device: Device) -> float:
    """Bytes that autograd saves in one block for one step; `wide` is the size of a number.

    Each term is a tensor that backward reads. On a CPU the norms are our own in fp32, and torch's, with fp32
    intermediates, in bf16; on a GPU they are one kernel that keeps its input.
    """
    d, f, heads = config.d_model, config.d_ff, config.n_heads
    q, kv = heads * config.head_dim, config.n_kv_heads * config.head_dim
    normed = q + kv if config.qk_norm else 0                            # queries and keys
    if device == "gpu":
        norms = wide * 2 * d                                            # the residual stream, twice
        copied = config.prefix and heads > config.n_kv_heads
        repeated = 2 * q if copied else kv                              # keys and values a head, or keys
    else:
        norms = (4 if wide == 4 else 8) * (2 * d + normed)
        copied, repeated = False, kv
    scales = 4 * (2 + (heads + config.n_kv_heads if config.qk_norm else 0))
    projected = wide * (d + q + 2 * kv)                                 # input and output of queries, keys, values
    attention = wide * (q + repeated + q) + 4 * heads                   # rotated, mixed, log of the sums
    attention += wide * q if device == "cpu" else 0                     # mixed again, its documents side by side
    swiglu = wide * (d + 2 * f + f + f)                                 # input, gate and up, silu(gate), product
    moments = 2 * (wide if device == "cpu" else 4) * (config.n_kv_heads + 3)
    values = 0 if copied else kv                                        # as the norm gives them to attention
    even = wide * (values + f + 2 * d) + moments if config.inner_norms else 0
    inside = 0
    if config.activation_bits == 1:                                     # what was not clipped; mixed beside its signs
        inside = d + q + d + f + (wide * q if device == "gpu" else 0)
    return norms + scales + projected + attention + swiglu + even + inside


def rounded_bytes(config: ModelConfig, wide: int) -> float:
    """Bytes that autograd saves in one block of one-bit matrices whatever the steps: each rounded, and what was not
    clipped."""
    d, q, kv = config.d_model, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    return (wide + 1.0) * (2 * d * q + 2 * d * kv + 3 * d * config.d_ff) if config.weight_bits == 1 else 0.0
