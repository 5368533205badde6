"""What a loss must be for initial weights to be sought by it."""

from torch import Tensor

from omni.errors import InputError


def checked(loss: object, name: str) -> Tensor:
    """A loss that is one finite number and has a gradient. name: of who seeks

    Raises InputError for any other.
    """
    if not isinstance(loss, Tensor):
        raise InputError(f"{name}: a loss of type {type(loss).__name__} has no gradient; return a tensor")
    if loss.numel() != 1:
        raise InputError(f"{name}: a loss of shape {list(loss.shape)} is no number; use its mean")
    if not loss.requires_grad:
        raise InputError(f"{name}: the loss does not depend on the parameters; is the model detached?")
    check_finite(loss, name)
    return loss.reshape(())


def check_finite(values: Tensor, name: str) -> None:
    """Raises InputError where a loss, or what follows from it, has numbers that are none."""
    if not bool(values.isfinite().all()):
        raise InputError(
            f"{name}: the loss or its derivatives are not finite; lower the rate, or look at weights and batch; the"
            " weights are as they were"
        )
