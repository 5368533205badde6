"""Losses by a planted law."""

from typing import Any

import numpy as np

from omni.train.scaling.fraction import fraction_at

SIZES = np.array([2e4, 5e4, 1e5, 3e5, 1e6, 3e6])
WEIGHTS = np.array([0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
SHAPE = (0.6, 0.8, 1.3)                                                 # c1, c2, c3 of the planted fraction


def planted(alpha: float, floor: float, noise: float = 0.0, seed: int = 0, weights: Any = WEIGHTS) -> dict[str, Any]:
    """Losses by the law: beta_1 = 20 at one parameter."""
    size, weight = (grid.ravel() for grid in np.meshgrid(SIZES, weights))
    share = fraction_at(weight, *SHAPE)
    loss = 20 * (share * size) ** -alpha + floor
    errors = noise * np.random.default_rng(seed).normal(size=len(loss))
    return {"size": size, "weight": weight, "loss": loss * np.exp(errors)}
