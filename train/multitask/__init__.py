"""Many losses, one gradient: ways to weigh tasks that share a model."""

from omni.train.multitask.gradients import Elementwise, Gramian
from omni.train.multitask.losses import GradNorm, RandomWeights, Scalarization, temperature_weights
from omni.train.multitask.methods import METHODS, Method, method

__all__ = [
    "METHODS",
    "Elementwise",
    "GradNorm",
    "Gramian",
    "Method",
    "RandomWeights",
    "Scalarization",
    "method",
    "temperature_weights",
]
