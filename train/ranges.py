"""Numbers of a recipe that cannot be, whatever else it says. Light to import."""

from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.recipe import Recipe


def check_ranges(recipe: "Recipe") -> None:
    """Raises InputError naming the key whose number is out of range, or is none (nan)."""
    positive = {
        "sequence_length": recipe.sequence_length,
        "batch.rows": recipe.batch.rows,
        "batch.micro": recipe.batch.micro,
        "checkpoint.keep": recipe.checkpoint.keep,
        "faults.patience": recipe.faults.patience,
        "monitor.rows": recipe.monitor.rows,
        "parallel.sequence": recipe.parallel.sequence,
        "parallel.tensor": recipe.parallel.tensor,
        "validate.rows": recipe.validate.rows,
    }
    for name, value in positive.items():
        if value < 1:
            raise InputError(f"{name}: must be at least 1, got {value}")
    optimizer = recipe.optimizer
    at_least_none = {
        "optimizer.lr": optimizer.lr,
        "optimizer.eps": optimizer.eps,
        "optimizer.weight_decay": optimizer.weight_decay,
        "optimizer.clip": optimizer.clip,
        "validate.every": recipe.validate.every,
        "checkpoint.every": recipe.checkpoint.every,
        "checkpoint.minutes": recipe.checkpoint.minutes,
        "faults.spike": recipe.faults.spike,
        "faults.hang_minutes": recipe.faults.hang_minutes,
    }
    for name, number in at_least_none.items():
        if not number >= 0:
            raise InputError(f"{name}: must be 0 or more, got {number}")
    for name, shares in {"optimizer.betas": optimizer.betas, "optimizer.momentum": (optimizer.momentum,)}.items():
        for share in shares:
            if not 0 <= share < 1:
                raise InputError(f"{name}: must lie in 0 <= value < 1, got {share}")
