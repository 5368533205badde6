"""Curvature of a training loss: how sharp it is, and how near to where an optimizer's steps stop being stable."""

from omni.train.curvature.hessian import CurvatureError, FlatError, Hessian, Operator, Scaled
from omni.train.curvature.lanczos import Eigenpair, UnconvergedError, power_iteration, top_eigenvalue
from omni.train.curvature.precondition import Preconditioner
from omni.train.curvature.spectrum import Density, Estimate, density, hutch_plus_plus, hutchinson
from omni.train.curvature.threshold import threshold

__all__ = [
    "CurvatureError",
    "Density",
    "Eigenpair",
    "Estimate",
    "FlatError",
    "Hessian",
    "Operator",
    "Preconditioner",
    "Scaled",
    "UnconvergedError",
    "density",
    "hutch_plus_plus",
    "hutchinson",
    "power_iteration",
    "threshold",
    "top_eigenvalue",
]
