"""A whole model with random weights, very small, data of noise, and our tasks as Inspect finds them."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import inspect_ai._util.package
import numpy as np
import pytest

import omni.safety.registry  # noqa: F401
from omni.train.data.items import DATA_FILES, FORMAT_VERSION, SAMPLE_RATE, Item, Recording, fingerprint

# Where omni is not installed from this folder, Inspect reads all packages' files at every task to find whose it is.
inspect_ai._util.package.packages_distributions = functools.cache(inspect_ai._util.package.packages_distributions)


@pytest.fixture(scope="session")
def model(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under a name that Inspect does not take for several models."""
    path = tmp_path_factory.mktemp("safety") / "model"
    path.symlink_to(models("delay", max_steps=1024))
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four stamps, of which two are held out: one is of people; each is named by a person in English and in French."""
    folder, length = tmp_path_factory.mktemp("data"), SAMPLE_RATE // 2
    items = []
    for number, name in enumerate(("people/1", "food/2", "people/3", "food/4")):
        spoken = tuple(
            Recording((2 * number + place) * length, length, language, "speech", f"stamps/{language}", "CC0")
            for place, language in enumerate(("en", "fr"))
        )
        texts, split = {"en": f"Thing {number}.", "fr": f"Chose {number}."}, "train" if number < 2 else "test"
        items.append(Item(f"stamps/{name}", "stamps", split, texts, {}, (number,), spoken, "CC0", "us"))
    random = np.random.default_rng(0)
    (folder / "items.jsonl").write_text("".join(item.to_json() + "\n" for item in items), encoding="utf-8")
    np.save(folder / "pictures.npy", random.integers(0, 256, (4, 16, 16, 3), np.uint8))
    np.save(folder / "audio.npy", random.normal(0, 3000, 8 * length).astype("<i2"))
    checksums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in DATA_FILES}
    (folder / "manifest.json").write_text(json.dumps({
        "version": FORMAT_VERSION, "sample_rate": SAMPLE_RATE, "picture_size": 16, "dropped": {},
        "bytes": {name: (folder / name).stat().st_size for name in DATA_FILES}, "checksums": checksums,
        "fingerprint": fingerprint(checksums),
    }))  # fmt: skip
    return folder
