"""What a rank holds of the training state, parameter by parameter, whatever the stage of ZeRO.

ZeRO cuts the flattened state of all parameters into ranges, one a rank. Named by parameter and offset, the ranges of
one run can be read back by a run with another number of ranks or another stage.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from omni.train.optimizers import Adafactor, Muon
from omni.train.state.places import Fragment, placed

MOMENTS = ("exp_avg", "exp_avg_sq")                                     # of AdamW
WEIGHT, MOMENTUM, STEP = "weight", "momentum", "step"


def fragments(
    engine: Any, optimizer: torch.optim.Optimizer, stage: int, needed: bool = False
) -> Iterator[Fragment]:
    """This rank's fragments, which together with those of all others cover every parameter once.

    engine: of DeepSpeed around a module whose `model` holds the parameters; optimizer: the one inside.
    needed: what this rank must be given to go on, which differs in stage 0, where each rank has a copy of everything.
    """
    parts = _parts(engine, optimizer, stage, needed)
    if engine.mpu is None:
        return parts
    return placed(parts, engine.mpu, needed)


def _parts(engine: Any, optimizer: torch.optim.Optimizer, stage: int, needed: bool) -> Iterator[Fragment]:
    """Fragments of the parameters as this rank has them, which may be shares of the model's."""
    named = {name: parameter for name, parameter in engine.module.model.named_parameters() if parameter.requires_grad}
    if stage == 0:
        world = engine.dp_world_size                                    # copies of the same
        rank = engine.global_rank * world // engine.world_size          # neighbours have shares of one copy
        for owner, part in _whole(named, optimizer, rank, world):
            if needed or owner == rank:
                yield part
    elif stage < 3:
        yield from _ranges(named, engine.optimizer, optimizer)
    else:
        yield from _pieces(named, engine.optimizer, optimizer)


def optimizer_steps(optimizer: torch.optim.Optimizer) -> float:
    """Steps that AdamW or Adafactor has taken, by which it corrects its moments."""
    counts = [float(state[STEP]) for state in _adamw(optimizer).state.values() if STEP in state]
    return max(counts, default=0.0)


def set_optimizer_steps(optimizer: torch.optim.Optimizer, steps: float) -> None:
    """Set the count in every state there is."""
    for state in _adamw(optimizer).state.values():
        state[STEP] = torch.full_like(torch.as_tensor(state[STEP]), steps)


def forget(engine: Any, optimizer: torch.optim.Optimizer, stage: int) -> None:
    """Begin the optimizer anew: no moments, no steps taken."""
    for part in fragments(engine, optimizer, stage, needed=True):
        for kind, value in part.values.items():
            if kind != WEIGHT:
                value.zero_()
    set_optimizer_steps(optimizer, 0.0)


def refresh(engine: Any, stage: int) -> None:
    """Bring what the model computes with up to date with restored master weights. Every rank calls it."""
    if stage == 0:
        return
    zero = engine.optimizer
    if stage < 3:
        zero.update_lp_params()
        return
    for group in range(len(zero.fp32_partitioned_groups_flat)):
        with _at_hand(zero, group):
            zero._reassign_or_swap_out_partitioned_parameters(group)
    if zero.persistent_parameters:                                      # small ones, of which every rank keeps all
        zero.persistent_parameters[0].partition(zero.persistent_parameters)
        zero.persistent_parameters[0].all_gather(zero.persistent_parameters)


def _adamw(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    return optimizer.others if isinstance(optimizer, Muon) else optimizer


def _moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """AdamW's moments of a parameter or a flat group of them, made now where no step was taken yet."""
    state = optimizer.state[parameter]
    if STEP not in state:
        state[STEP] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        for kind in MOMENTS:
            state[kind] = torch.zeros_like(parameter.detach())
    return {kind: state[kind].view(-1) for kind in MOMENTS}


def _whole(
    named: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, rank: int, world: int
) -> Iterator[tuple[int, Fragment]]:
    """Stage 0: whole parameters with the rank that saves each; the momentum of a matrix lies with its owner alone."""
    for number, (name, parameter) in enumerate(named.items()):
        values, owner = {WEIGHT: parameter.detach().view(-1)}, number % world
        if isinstance(optimizer, Muon) and parameter in optimizer.owner:
            owner = optimizer.owner[parameter]
            if owner == rank:
                values[MOMENTUM] = optimizer.momentum_of(parameter).view(-1)
        elif isinstance(optimizer, Adafactor):                          # moments of other shapes, in their own places
            for kind, value in optimizer.moments(parameter).items():
                yield owner, Fragment(name, 0, value.numel(), {kind: value.view(-1)})
        else:
            values |= _moments(_adamw(optimizer), parameter)
        yield owner, Fragment(name, 0, parameter.numel(), values)


def _ranges(named: dict[str, nn.Parameter], zero: Any, optimizer: torch.optim.Optimizer) -> Iterator[Fragment]:
    """Stages 1 and 2: a rank has one range of each flattened group, which may cut a parameter in two."""
    for name, parameter in named.items():
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]
        if mapping is None:                                             # nothing of it in this rank's range
            continue
        flat = zero.single_partition_of_fp32_groups[mapping.param_group_index]
        here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
        values = {WEIGHT: flat.detach(), **_moments(optimizer, flat)}
        cut = {kind: value.narrow(0, here.start, here.numel) for kind, value in values.items()}
        yield Fragment(name, int(there.start), int(here.numel), cut)


def _pieces(named: dict[str, nn.Parameter], zero: Any, optimizer: torch.optim.Optimizer) -> Iterator[Fragment]:
    """Stage 3: every parameter is cut into as many pieces as there are ranks, the last ones padded."""
    places = {name: zero.grad_position[zero.get_param_id(parameter)] for name, parameter in named.items()}
    for group, names in groupby(sorted(places, key=lambda name: places[name][0]), lambda name: places[name][0]):
        with _at_hand(zero, group):
            flat = zero.fp32_partitioned_groups_flat[group]
            values = {WEIGHT: flat.detach(), **_moments(optimizer, flat)}
            for name in names:
                _, offset, padded = places[name]
                start = zero._get_param_partition_rank(named[name]) * padded
                numel = min(padded, named[name].ds_numel - start)  # type: ignore[attr-defined]
                if numel > 0:
                    cut = {kind: value.narrow(0, offset, numel) for kind, value in values.items()}
                    yield Fragment(name, int(start), int(numel), cut)


@contextmanager
def _at_hand(zero: Any, group: int) -> Iterator[None]:
    """Stage 3: masters and moments of a group; those on a drive are fetched, and written back at the end."""
    away = zero._swappable_optimizer_subgroup(group)
    if away:
        zero._optimizer_states_and_gradient_swap_in(group)
    try:
        yield
    finally:
        if away:
            zero._optimizer_states_and_gradient_swap_out(group)
