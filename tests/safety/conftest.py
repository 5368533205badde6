"""A whole model with random weights, very small, and our tasks as Inspect finds them."""

from collections.abc import Callable
from pathlib import Path

import pytest

import omni.safety.registry  # noqa: F401


@pytest.fixture(scope="session")
def model(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under a name that Inspect does not take for several models."""
    path = tmp_path_factory.mktemp("safety") / "model"
    path.symlink_to(models("delay", max_steps=1024))
    return path
