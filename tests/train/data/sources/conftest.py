"""Untrained tokenizers, a picture and a recording."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.text import TextTokenizer


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Tokenizers:
    torch.manual_seed(0)
    codec, image = Codec(CodecConfig.preset("quick")), ImageTokenizer(ImageConfig.preset("quick"))
    bundle = Tokenizers(TextTokenizer.train(["what is this", "an owl"], 270), codec.eval(), image.eval())
    folder = tmp_path_factory.mktemp("tokenizers")
    bundle.save(folder)
    return Tokenizers.load(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with owl.png and owl.wav."""
    folder = tmp_path / "source"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8)).save(folder / "owl.png")
    soundfile.write(folder / "owl.wav", np.sin(np.arange(8000) / 10).astype(np.float32) / 2, 16_000)
    return folder
