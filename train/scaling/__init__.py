"""Scaling laws: fits of losses over model size, mixture weight and data, their intervals, and plans from them."""

from omni.train.scaling.fit import Fit, fit
from omni.train.scaling.plan import Plan, plan

__all__ = ["Fit", "Plan", "fit", "plan"]
