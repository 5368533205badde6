"""Sizes of the buffers through which ZeRO passes gradients and weights: what DeepSpeed is told and the plan counts."""

from omni.model.config import ModelConfig

MAX_LIVE = 1_000_000_000                                                # weights that ZeRO 3 has gathered at a time


def reduce_bucket(config: ModelConfig) -> int:
    """Gradients that are reduced together. DeepSpeed takes memory for as many at once, however few there are.

    200 million, 400 MB in bf16, keep a ring of hundreds of GPUs busy; a parameter above that goes by itself.
    """
    return min(200_000_000, sum(config.parameters().values()))
