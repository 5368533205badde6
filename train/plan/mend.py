"""What to change in a recipe that does not fit its accelerators."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Literal

from omni.errors import InputError
from omni.train.plan.hardware import GIB
from omni.train.plan.throughput import Plan, plan_run
from omni.train.recipe import Recipe

STAGES: tuple[Literal[0, 1, 2, 3], ...] = (0, 1, 2, 3)


def mends(plan: Plan, most: int = 3) -> list[str]:
    """The smallest changes that make a plan fit, each with what it would take; the fastest first."""
    found = []
    for recipe, words in _changes(plan.recipe):
        try:
            other = plan_run(plan.config, recipe, plan.gear, plan.world)
        except InputError:
            continue
        if other.fits:
            found.append((len(words), other.throughput.seconds_apart, words, other.memory.total))
    fewest = min((count for count, *_ in found), default=0)
    chosen = sorted((one for one in found if one[0] == fewest), key=lambda one: one[1])[:most]
    return [f"{', '.join(words)} takes {total / GIB:.1f} GiB" for _, _, words, total in chosen]


def _changes(recipe: Recipe) -> Iterator[tuple[Recipe, list[str]]]:
    """Every combination of: more ZeRO, checkpointing, smaller micro-batches, offloading the optimizer's state."""
    micros = [micro for micro in range(recipe.batch.micro, 0, -1) if recipe.batch.micro % micro == 0]
    checkpointing = {recipe.activation_checkpointing, True}
    offloads = {recipe.offload.optimizer, "cpu"} if recipe.optimizer.kind == "adamw" else {recipe.offload.optimizer}
    stages = [stage for stage in STAGES if stage >= recipe.zero] if recipe.optimizer.kind == "adamw" else [recipe.zero]
    for zero, checkpoint, micro, offload in product(stages, sorted(checkpointing), micros, sorted(offloads)):
        words = [f"zero: {zero}"] * (zero != recipe.zero)
        words += ["activation_checkpointing: true"] * (checkpoint != recipe.activation_checkpointing)
        words += [f"batch.micro: {micro}"] * (micro != recipe.batch.micro)
        words += [f"offload.optimizer: {offload}"] * (offload != recipe.offload.optimizer)
        try:
            changed = replace(
                recipe,
                zero=zero,
                activation_checkpointing=checkpoint,
                batch=replace(recipe.batch, micro=micro),
                offload=replace(recipe.offload, optimizer=offload),
            )
        except InputError:
            continue
        if words:
            yield changed, words
