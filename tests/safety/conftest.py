"""A whole model with random weights, very small, and our tasks as Inspect finds them."""

import functools
from collections.abc import Callable
from pathlib import Path

import inspect_ai._util.package
import pytest

import omni.safety.registry  # noqa: F401

# Where omni is not installed from this folder, Inspect reads all packages' files at every task to find whose it is.
inspect_ai._util.package.packages_distributions = functools.cache(inspect_ai._util.package.packages_distributions)


@pytest.fixture(scope="session")
def model(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under a name that Inspect does not take for several models."""
    path = tmp_path_factory.mktemp("safety") / "model"
    path.symlink_to(models("delay", max_steps=1024))
    return path
