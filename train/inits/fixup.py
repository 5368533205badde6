"""Fixup: residual branches that begin as nothing and move by a step's size, whatever the depth (Zhang et al. 2019)."""

from collections.abc import Sequence

import torch
from torch import nn


@torch.no_grad()
def fixup(branches: Sequence[Sequence[nn.Linear | nn.Conv2d]], head: nn.Linear | None = None) -> None:
    """Scale the weights of a network without normalisation, in place.

    branches: the layers of each residual branch, in order; head: the layer that gives the answer, zeroed
    In each of L branches of m layers the last is zero and the others are scaled by L^(-1/(2m - 2)). The paper's scalar
    biases and multipliers are left to the network's own biases. Raises ValueError for a branch of less than two layers.
    """
    for layers in branches:
        if len(layers) < 2:
            raise ValueError("fixup: a branch needs at least two layers with weights")
        for layer in layers[:-1]:
            layer.weight.mul_(len(branches) ** (-1 / (2 * len(layers) - 2)))
    for layer in [*(layers[-1] for layers in branches), *([head] if head is not None else [])]:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
