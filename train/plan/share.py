"""What one process has of a model whose blocks are shared among some (omni.model.tensor_parallel)."""

from dataclasses import replace

from omni.model.config import ModelConfig


def share(config: ModelConfig, tensor: int) -> ModelConfig:
    """The shape of a process's blocks, where `tensor` processes share each: fewer heads and units of the same width."""
    return replace(
        config,
        n_heads=config.n_heads // tensor,
        n_kv_heads=config.n_kv_heads // tensor,
        d_ff=config.d_ff // tensor,
        head_size=config.head_dim,
    )


def held(config: ModelConfig, tensor: int) -> dict[str, int]:
    """Parameters of a process by part; all but the blocks are whole everywhere."""
    return config.parameters() | {"blocks": share(config, tensor).parameters()["blocks"]}
