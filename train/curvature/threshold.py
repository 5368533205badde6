"""The curvature above which an optimizer's steps grow on a quadratic: where its training stops being stable."""

import math
from typing import Literal

Momentum = Literal["ema", "heavy-ball", "nesterov", "nesterov-ema"]


def threshold(lr: float, momentum: float = 0.0, kind: Momentum = "ema", weight_decay: float = 0.0) -> float:
    """Largest stable eigenvalue of the (preconditioned) Hessian (Cohen et al. 2022, section 2).

    2/lr for gradient descent, (2 + 2b)/((1 - b) lr) for an averaged gradient as in Adam, which is 38/lr at b = 0.9, and
    2 (1 + b)/lr for the heavy ball (dampening d makes its rate (1 - d) lr) and 2 (1 + b)/((1 + 2 b) lr) for Nesterov's.

    ema           m <- b m + (1 - b) g,  x <- x - lr m
    heavy-ball    m <- b m + g,          x <- x - lr m
    nesterov      m as in heavy-ball,    x <- x - lr (g + b m), as torch's SGD does
    nesterov-ema  m as in ema,           x <- x - lr ((1 - b) g + b m), as Muon does

    weight_decay: decoupled, x <- (1 - lr weight_decay) x before the step; the curve bends less by it, so that the
    threshold is (2 - lr weight_decay)/2 of that without. Where it is part of the loss, it is in the Hessian instead.
    Infinite at a rate of 0, where nothing moves. Raises ValueError for lr < 0 or momentum outside [0, 1).
    """
    if not (lr >= 0 and 0 <= momentum < 1):
        raise ValueError(f"lr must be 0 or more and momentum lie in [0, 1), got {lr} and {momentum}")
    if lr == 0:
        return math.inf
    weight = 1 - momentum if kind.endswith("ema") else 1.0              # of a new gradient in m
    ahead = 1 + 2 * momentum if kind.startswith("nesterov") else 1.0
    return (2 - lr * weight_decay) * (1 + momentum) / (weight * ahead * lr)
