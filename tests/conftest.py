"""What holds for every test: one thread, no network for Hugging Face's libraries, slow tests last."""

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 12 items, each with a picture of one colour, a caption and two recordings of a tone."""
    from omni.train.data.items import DATA_FILES, FORMAT_VERSION, SAMPLE_RATE, Item, Recording, fingerprint

    folder = tmp_path_factory.mktemp("prepared")
    items, waves = [], []
    length = SAMPLE_RATE
    for number in range(12):
        split = ("train", "valid", "test")[number % 3]
        recordings = []
        for language in ("en", "fr"):
            start = len(waves) * length
            recordings.append(Recording(start, length, language, "speech", f"stamps/{language}", "CC0"))
            waves.append(8000 * np.sin(np.arange(length) * math.tau * (200 + 20 * len(waves)) / SAMPLE_RATE))
        texts = {"en": f"number {number}", "fr": f"numéro {number}"}
        items.append(
            Item(f"stamps/{number}", "stamps", split, texts, {}, (number,), tuple(recordings), "CC0", "us")
        )
    pictures = np.random.default_rng(0).integers(0, 256, (12, 1, 1, 3), dtype=np.uint8).repeat(64, 1).repeat(64, 2)
    (folder / "items.jsonl").write_text("".join(item.to_json() + "\n" for item in items), encoding="utf-8")
    np.save(folder / "pictures.npy", pictures)
    np.save(folder / "audio.npy", np.concatenate(waves).astype("<i2"))
    checksums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in DATA_FILES}
    about = {
        "version": FORMAT_VERSION,
        "sample_rate": SAMPLE_RATE,
        "picture_size": 64,
        "dropped": {},
        "bytes": {name: (folder / name).stat().st_size for name in DATA_FILES},
        "checksums": checksums,
        "fingerprint": fingerprint(checksums),
    }
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained codecs, whose codes are as good as any for most tests, and a small trained text tokenizer."""
    import torch

    from omni.tokenizers.audio.codec import Codec
    from omni.tokenizers.audio.config import CodecConfig
    from omni.tokenizers.bundle import Tokenizers
    from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
    from omni.tokenizers.text import TextTokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tokenizers")
    texts = [text for number in range(12) for text in (f"number {number}", f"numéro {number}")]
    codec, image = Codec(CodecConfig.preset("quick")), ImageTokenizer(ImageConfig.preset("quick"))
    Tokenizers(TextTokenizer.train(texts, 300), codec.eval(), image.eval()).save(folder)
    return folder
