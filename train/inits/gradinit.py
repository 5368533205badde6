"""GradInit: scales of weights for which one step of the optimizer lowers the loss most (Zhu et al. 2021)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from omni.train.inits.checked import check_finite, checked

LEAST = 0.01                                                            # of a scale


def gradinit(
    model: nn.Module,
    loss: Callable[[Mapping[str, Tensor]], Tensor],
    lr: float,
    signs: bool = False,
    most: float = 1.0,
    steps: int = 100,
    rate: float = 0.02,
) -> dict[str, float]:
    """Scale each parameter, in place, and return the scales by name.

    loss: of a batch, drawn anew at each call, at named parameters (torch.func.functional_call)
    lr, signs: of the optimizer's first step: lr times the gradient for SGD, times its signs for Adam
    most: norm of the gradient (2-norm for SGD, 1-norm over its numbers' root for Adam) above which that is lowered
    instead of the loss after the step (algorithm 1); steps, rate: of Adam on the scales

    A parameter that the loss does not use keeps a scale of 1. Raises InputError, and changes nothing, where a loss is
    not one finite number or its gradient has numbers that are none.
    """
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    scales = {name: torch.ones((), requires_grad=True) for name in weights}
    optimizer = torch.optim.Adam(scales.values(), lr=rate)
    for _ in range(steps):
        scaled = {name: weight * scales[name] for name, weight in weights.items()}
        before = checked(loss(scaled), "gradinit")
        gradient = torch.autograd.grad(before, list(scaled.values()), create_graph=True, allow_unused=True)
        known = {name: one for name, one in zip(scaled, gradient, strict=True) if one is not None}
        norm = _norm(list(known.values()), signs)
        if float(norm.detach()) > most:
            aim = norm
        else:
            step = {name: one.sign() if signs else one for name, one in known.items()}
            after = {name: weight - lr * step[name] if name in step else weight for name, weight in scaled.items()}
            aim = checked(loss(after), "gradinit")
        optimizer.zero_grad()
        if aim.requires_grad:                                           # not the norm of a gradient that is constant
            aim.backward()
        optimizer.step()
        with torch.no_grad():
            for scale in scales.values():
                scale.clamp_(min=LEAST)
        check_finite(torch.stack([*scales.values()]), "gradinit")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(scales[name])
    return {name: float(scale.detach()) for name, scale in scales.items()}


def _norm(gradient: list[Tensor], signs: bool) -> Tensor:
    flat = torch.cat([one.flatten() for one in gradient])
    return flat.abs().sum() / flat.numel() ** 0.5 if signs else flat.square().sum().clamp(min=1e-30).sqrt()
