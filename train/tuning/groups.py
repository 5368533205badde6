"""Parameters chosen by patterns over their names: which are frozen, and how fast the others learn."""

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from omni.errors import InputError


def chosen(patterns: Iterable[str], names: Iterable[str], key: str) -> dict[str, str]:
    """Each name that a shell pattern such as `blocks.0.*` matches, with the first one that does.

    Raises InputError for a pattern that matches none, naming the recipe's `key`.
    """
    names, found = list(names), dict[str, str]()
    for pattern in patterns:
        hits = [name for name in names if fnmatchcase(name, pattern)]
        if not hits:
            close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
            raise InputError(f"{key}: no parameter is called {pattern!r}; close names are {', '.join(close)}")
        for name in hits:
            found.setdefault(name, pattern)
    return found


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Train none of the parameters whose names match. Raises InputError where nothing is left."""
    parameters = dict(model.named_parameters())
    for name in chosen(patterns, parameters, "freeze"):
        parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise InputError("freeze: nothing is left to train; freeze less")


def rates(model: nn.Module, multipliers: Mapping[str, float]) -> dict[nn.Parameter, float]:
    """What the learning rate of each trained parameter is multiplied by: that of the first pattern, or 1.

    Raises InputError for a pattern that matches no trained parameter.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    pattern_of = chosen(multipliers, trained, "optimizer.groups")
    return {parameter: multipliers.get(pattern_of.get(name, ""), 1.0) for name, parameter in trained.items()}
