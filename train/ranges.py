"""What the numbers of a recipe may be. Light to import."""

from typing import TYPE_CHECKING, Any

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.recipe import Recipe

AT_LEAST_1 = (
    *("sequence_length", "batch.rows", "batch.micro", "checkpoint.keep", "faults.patience", "monitor.rows"),
    *("parallel.sequence", "parallel.tensor", "validate.rows"),
)
AT_LEAST_0 = (
    *("optimizer.lr", "optimizer.eps", "optimizer.weight_decay", "optimizer.clip", "reading.weight"),
    *("validate.every", "checkpoint.every", "checkpoint.minutes", "faults.spike", "faults.hang_minutes"),
)
BELOW_1 = ("optimizer.betas", "optimizer.momentum")                     # and at least 0


def check_ranges(recipe: "Recipe") -> None:
    """Raises InputError for a number that nothing can be done with, naming its key."""
    for key in AT_LEAST_1:
        for value in _numbers(recipe, key):
            if value < 1:
                raise InputError(f"{key}: must be at least 1, got {value}")
    for key in AT_LEAST_0:
        for value in _numbers(recipe, key):
            if not 0 <= value < float("inf"):
                raise InputError(f"{key}: must be a number of at least 0, got {value}")
    for key in BELOW_1:
        for value in _numbers(recipe, key):
            if not 0 <= value < 1:
                raise InputError(f"{key}: must be at least 0 and below 1, got {value}")


def _numbers(recipe: "Recipe", key: str) -> tuple[float, ...]:
    """What stands under a dotted key: one number, or two."""
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name)
    return value if isinstance(value, tuple) else (value,)
