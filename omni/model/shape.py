"""The shape of a model on disk, read without torch: the process that clients speak to needs no more of it."""

from pathlib import Path

from omni.errors import InputError
from omni.files import read_json
from omni.model.config import ModelConfig
from omni.vocab import Vocabulary


def load_shape(folder: Path | str) -> tuple[ModelConfig, Vocabulary]:
    """The shape of the model in a folder, and its vocabulary. Raises InputError as `load_model` does."""
    folder = Path(folder)
    check_there(folder)
    config = ModelConfig.parse(read_json(folder / "config.json"), f"{folder}/config.json")
    vocab = Vocabulary.load(folder / "vocab.json")
    if config != config.for_vocabulary(vocab):
        raise InputError(f"{folder}: config.json was made for another vocabulary than vocab.json; use files of one run")
    return config, vocab


def check_there(folder: Path) -> None:
    """Raise InputError where there is no such folder, or none of a model."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; train one with `omni train` or `omni quickstart`")
    if not any((folder / name).exists() for name in ("config.json", "checksums.json")):
        raise InputError(f"{folder}: holds no model; name a folder with a config.json, such as RUN/model")
