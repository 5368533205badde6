"""Initial weights."""

import math

from torch import nn

from omni.model.config import ModelConfig

STD = 0.02


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Normal weights of deviation 0.02; what writes to the residual stream is scaled by 1/sqrt(2 n_layers) (GPT-2)."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=STD)
        elif isinstance(module, nn.Linear):
            writes = name.endswith(("attention.out", "feed_forward.down"))
            nn.init.normal_(module.weight, std=STD / math.sqrt(2 * config.n_layers) if writes else STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
