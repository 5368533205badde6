"""A model with random weights and 60 stamps, a few prompts and lines, all as small as the parts bear."""

import functools
import hashlib
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import inspect_ai._util.package
import numpy as np
import pytest
import torch

from omni.model.config import ModelConfig
from omni.model.folder import save_model
from omni.model.transformer import OmniTransformer
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.text import TextTokenizer
from omni.train.data.items import DATA_FILES, FORMAT_VERSION, SAMPLE_RATE, Item, Recording, fingerprint
from omni.train.data.lines import line_items
from omni.vocab import Vocabulary

# Where omni is not installed from this folder, Inspect reads all packages' files at every task to find whose it is.
inspect_ai._util.package.packages_distributions = functools.cache(inspect_ai._util.package.packages_distributions)

FOLDERS = ("animals/birds", "plants", "vehicles", "food", "people")
KINDS = ("small", "big", "red", "blue", "green", "black")               # words that the recognizer knows
NAMES = ("owl", "cat", "dog", "cow", "pig", "horse", "mouse", "bear", "fish", "duck")
LENGTH = SAMPLE_RATE // 5


def _recordings(number: int, *voices: tuple[str | None, str | None]) -> tuple[Recording, ...]:
    """(language, speaker); without a language it is a sound effect."""
    starts = [LENGTH * ((number + place) % 8) for place in range(len(voices))]
    return tuple(
        Recording(start, LENGTH, language, "speech" if language else "effect", speaker, "CC0")
        for start, (language, speaker) in zip(starts, voices, strict=True)
    )


def items() -> Iterator[Item]:
    for number in range(60):
        texts = {"en": f"A {KINDS[number // 10]} {NAMES[number % 10]}.", "fr": f"Un hibou {number}."}
        human = (("en", "stamps/en"), ("fr", "stamps/fr"), ("en", "espeak-ng/f1@125"))
        spoken = _recordings(number, *human, ("en", "preset/clara"), ("fr", "preset/lena"), (None, None))
        split = "train" if number < 30 else "test"
        name = f"stamps/{FOLDERS[number % 5]}/{number}"
        yield Item(name, "stamps", split, texts, {}, (number,), spoken, "CC0", "us")
    for number, (english, french) in enumerate((("one", "un"), ("two", "deux")), start=1):
        texts, name = {"en": english, "fr": french}, f"prompts/digits/{number}"
        voices = (("fr", "prompts/june"), ("en", "preset/clara"))
        yield Item(name, "prompts", "train", texts, {}, (), _recordings(number, *voices), "CC0", "us")
        unheard = _recordings(number, ("en", "prompts/allison"))
        yield Item(f"{name}@allison", "prompts", "test", texts, {}, (), unheard, "CC0", "us")
    yield from line_items(["en", "fr"])


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("abilities-data")
    (folder / "items.jsonl").write_text("".join(item.to_json() + "\n" for item in items()), encoding="utf-8")
    random = np.random.default_rng(0)
    np.save(folder / "pictures.npy", random.integers(0, 256, (60, 4, 4, 3), np.uint8).repeat(4, 1).repeat(4, 2))
    np.save(folder / "audio.npy", (3000 * random.normal(size=16 * LENGTH)).astype("<i2"))
    checksums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in DATA_FILES}
    about = {
        "version": FORMAT_VERSION, "sample_rate": SAMPLE_RATE, "picture_size": 16, "dropped": {},
        "bytes": {name: (folder / name).stat().st_size for name in DATA_FILES},
        "checksums": checksums, "fingerprint": fingerprint(checksums),
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("abilities-model") / "model"
    torch.manual_seed(0)
    codec = CodecConfig(levels=(4, 4), codebooks=2, d_model=16, d_hop=16, encoder_layers=1, decoder_layers=1)
    image = ImageConfig(16, 8, (4, 4), width=16, fine_width=8, encoder_layers=1, decoder_layers=1)
    text = TextTokenizer.train(["A small owl. Un hibou."], 260)
    tokenizers = Tokenizers(text, Codec(codec).eval(), ImageTokenizer(image).eval())
    vocab = Vocabulary.of(tokenizers, ("en", "fr"), layout="delay", voices=("clara", "lena"))
    shape = ModelConfig(d_model=16, n_layers=1, n_heads=1, n_kv_heads=1, d_ff=16, max_steps=512)
    config = shape.for_vocabulary(vocab)
    save_model(folder, OmniTransformer(config).state_dict(), config, vocab)
    tokenizers.save(folder / "tokenizers")
    return folder


@pytest.fixture
def exit_code() -> Callable[[Callable[[], object]], int | None]:
    """Has something done in a process of its own, a copy of this one; how that ended, a signal's number negative."""

    def of(work: Callable[[], object]) -> int | None:
        def interruptible() -> object:
            signal.signal(signal.SIGINT, signal.default_int_handler)    # a job in the background is born without it
            return work()

        process = multiprocessing.get_context("fork").Process(target=interruptible)
        process.start()
        process.join(120)
        process.kill()                                                  # one that has not ended by then
        return process.exitcode

    return of
