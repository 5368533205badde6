from pathlib import Path

import pytest
import torch

from omni.errors import InputError
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.text import TextTokenizer

SMALL = ImageConfig(16, 8, (4, 4), width=8, fine_width=8, encoder_layers=1, decoder_layers=1, fine_layers=0)


@pytest.fixture
def bundle() -> Tokenizers:
    torch.manual_seed(0)
    return Tokenizers(text=TextTokenizer.train(["an owl"], 300), image=ImageTokenizer(SMALL).eval())


def test_saved_and_loaded_it_is_the_same(bundle: Tokenizers, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "text"]
    loaded = Tokenizers.load(tmp_path)
    assert loaded.audio is None
    assert loaded.text is not None and loaded.text.encode("an owl") == bundle.text.encode("an owl")  # type: ignore[union-attr]
    assert loaded.fingerprint == bundle.fingerprint


def test_the_fingerprint_tells_every_part(bundle: Tokenizers) -> None:
    torch.manual_seed(1)
    others = [
        Tokenizers(),
        Tokenizers(text=bundle.text),
        Tokenizers(image=bundle.image),
        Tokenizers(text=TextTokenizer.train(["a cat"], 300), image=bundle.image),
        Tokenizers(text=bundle.text, image=ImageTokenizer(SMALL)),
    ]
    assert len({bundle.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_a_folder_without_tokenizers_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="no tokenizers there; run `omni tokenizer train text"):
            Tokenizers.load(folder)


def test_a_broken_part_is_named(bundle: Tokenizers, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    (tmp_path / "image" / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="image"):
        Tokenizers.load(tmp_path)
