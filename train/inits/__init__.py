"""Initial weights that spare a model the warmup: Fixup, MetaInit and GradInit, for any torch module."""

from omni.train.inits.fixup import fixup
from omni.train.inits.gradinit import gradinit
from omni.train.inits.metainit import gradient_quotient, metainit

__all__ = ["fixup", "gradient_quotient", "gradinit", "metainit"]
