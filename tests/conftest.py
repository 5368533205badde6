"""What holds for every test: one thread, no network for Hugging Face's libraries, slow tests last."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


LONGEST = ("test_ranks.py", "test_soak.py", "test_engine.py", "test_server.py", "test_memory.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests run last, so that a failure shows early; their longest files first, so that no process ends late."""
    longest = {name: place for place, name in enumerate(LONGEST)}
    places = {id(item): longest.get(item.path.name, len(LONGEST)) for item in items}
    items.sort(key=lambda item: (item.get_closest_marker("slow") is not None, places[id(item)]))


@pytest.fixture(autouse=True)
def no_rank() -> Iterator[None]:
    """Accelerate leaves RANK in the environment, by which the next test's command would take itself for one of many."""
    yield
    os.environ.pop("RANK", None)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    """Two Ray nodes of one core each on loopback, the cluster of $RAY_ADDRESS."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'omni[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        os.environ["RAY_ADDRESS"] = cluster.address
        yield
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        cluster.shutdown()


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
        "samples": len(waves) * length,
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


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Whole model folders with random weights and real tokenizers, all very small: `models("flat", prefix=True)`."""
    root = tmp_path_factory.mktemp("models")

    def model(layout: str, **shape: Any) -> Path:
        folder = root / "-".join(map(str, (layout, *sorted(shape.items()))))
        if not folder.exists():
            _save_tiny(folder, layout, shape)
        return folder

    return model


def _save_tiny(folder: Path, layout: str, shape: dict[str, Any]) -> None:
    import torch

    from omni.model.config import ModelConfig
    from omni.model.folder import save_model
    from omni.model.transformer import OmniTransformer
    from omni.tokenizers.audio.codec import Codec
    from omni.tokenizers.audio.config import CodecConfig
    from omni.tokenizers.bundle import Tokenizers
    from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
    from omni.tokenizers.text import TextTokenizer
    from omni.vocab import Vocabulary

    torch.manual_seed(0)
    codec = CodecConfig(levels=(4, 4), codebooks=2, d_model=16, d_hop=16, encoder_layers=1, decoder_layers=1)
    image = ImageConfig(16, 8, (4, 4), width=16, fine_width=8, encoder_layers=1, decoder_layers=1)
    text = TextTokenizer.train(["an owl and a bell"], 260)
    tokenizers = Tokenizers(text, Codec(codec).eval(), ImageTokenizer(image).eval())
    vocab = Vocabulary(
        text=len(text), codebooks=2, codebook_size=16, image=16, picture_tokens=4, frames=3, languages=("en", "fr"),
        voices=("anna",), layout=layout, tokenizers=tokenizers.fingerprint,
    )  # fmt: skip
    shape = {"d_model": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "d_ff": 64, "max_steps": 256, **shape}
    config = ModelConfig(**shape).for_vocabulary(vocab)
    save_model(folder, OmniTransformer(config).state_dict(), config, vocab)
    tokenizers.save(folder / "tokenizers")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A picture, a recording and a GIF."""
    import soundfile
    from PIL import Image

    Image.new("RGB", (30, 20), "red").save(tmp_path / "p.png")
    soundfile.write(tmp_path / "q.wav", 0.1 * np.sin(np.arange(8000) / 9), 16000)
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green", "white")]
    frames[0].save(tmp_path / "v.gif", save_all=True, append_images=frames[1:], duration=500)
    return tmp_path
