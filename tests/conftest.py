"""What holds for every test: one thread, no network for Hugging Face's libraries, slow tests last."""

import os

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")                           # before torch is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"

# A busy machine must not fail a property, and CI must fail for the same example twice.
settings.register_profile("omni", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.load_profile("omni")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests run last, in their own order, so that a failure shows early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
