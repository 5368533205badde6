"""How a recipe makes one gradient of many tasks. Light to import."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.recipe import Recipe

LEARNING = ("gradnorm", "imtl-l", "uncertainty")                        # rules with a learning rate of their own


@dataclass(frozen=True)
class MultitaskRecipe:
    """How the tasks of a batch make one gradient (docs/multitask.md). none: every trained step counts alike; else each
    task's mean loss has a weight: with scalarization `weights` (1 unless named) or, with `temperature`, its number of
    rows to the power of 1/temperature; or chance; or one that is learnt beside the model; or a rule over gradients.

    lr: of what is learnt, times the schedule's factor (default: gradnorm 0.025, imtl-l and uncertainty the model's)
    alpha: how much gradnorm favours slow tasks (default: 1.5)
    """

    method: Literal[
        "none", "scalarization", "rlw-normal", "rlw-dirichlet", "imtl-l", "uncertainty", "gradnorm",
        "mgda", "pcgrad", "imtl-g", "gradvac", "cagrad", "nash-mtl", "graddrop",
    ] = "none"  # fmt: skip
    weights: dict[str, float] = field(default_factory=dict)
    temperature: float | None = None
    lr: float | None = None
    alpha: float | None = None


def check_multitask(recipe: "Recipe") -> None:
    """Raises InputError where parts of the recipe do not go together."""
    plan = recipe.multitask
    if plan.method != "none" and (recipe.dpo.beta or recipe.parallel.size > 1 or recipe.zero == 3):
        raise InputError("multitask: goes with zero 0 to 2, parallel.* 1 and no dpo")
    fixed = plan.method == "scalarization"
    if plan.weights and not (fixed and all(0 <= weight < float("inf") for weight in plan.weights.values())):
        raise InputError("multitask.weights: go with method: scalarization and are 0 or more")
    if plan.temperature is not None and (not fixed or plan.weights or not 0 < plan.temperature < float("inf")):
        raise InputError("multitask.temperature: goes with method: scalarization, without weights, and is above 0")
    if plan.lr is not None and (plan.method not in LEARNING or not 0 < plan.lr < float("inf")):
        raise InputError(f"multitask.lr: goes with method: {' or '.join(LEARNING)} and is above 0")
    if plan.alpha is not None and (plan.method != "gradnorm" or not 0 <= plan.alpha < float("inf")):
        raise InputError("multitask.alpha: goes with method: gradnorm and is 0 or more")
