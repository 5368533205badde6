"""Scaling laws: fits of losses over model size, mixture weight and data, their intervals, and plans from them."""

from omni.train.scaling.fit import Fit, fit
from omni.train.scaling.fraction import fractions
from omni.train.scaling.plan import Doubt, Plan, plan, plan_intervals

__all__ = ["Doubt", "Fit", "Plan", "fit", "fractions", "plan", "plan_intervals"]
