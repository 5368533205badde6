"""A model on disk: config.json, vocab.json, model.safetensors, checksums.json and, beside them, its tokenizers."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256, write_json
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.vocab import Vocabulary

FILES = ("config.json", "vocab.json", "model.safetensors")


def save_model(folder: Path | str, weights: dict[str, torch.Tensor], config: ModelConfig, vocab: Vocabulary) -> None:
    """Write a model folder atomically, replacing an older one. `weights` is a model's state_dict."""
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        write_json(scratch / "config.json", config.as_dict())
        vocab.save(scratch / "vocab.json")
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, scratch / FILES[2])
        write_json(scratch / "checksums.json", {name: sha256(scratch / name) for name in FILES})


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> tuple[OmniTransformer, Vocabulary]:
    """The model in a folder, in evaluation mode, and its vocabulary.

    Raises InputError, before any weight is used, when a file is missing, damaged, or does not fit the others.
    """
    _verify(Path(folder))
    config, vocab = load_shape(folder)
    model = OmniTransformer(config)
    _fill(model, Path(folder), device)
    return model.to(device).eval(), vocab


def load_shape(folder: Path | str) -> tuple[ModelConfig, Vocabulary]:
    """The shape of the model in a folder, and its vocabulary. Raises InputError as `load_model` does."""
    folder = Path(folder)
    _check_there(folder)
    config = ModelConfig.parse(read_json(folder / "config.json"), f"{folder}/config.json")
    vocab = Vocabulary.load(folder / "vocab.json")
    if config != config.for_vocabulary(vocab):
        raise InputError(f"{folder}: config.json was made for another vocabulary than vocab.json; use files of one run")
    return config, vocab


def load_into(model: OmniTransformer, folder: Path | str) -> None:
    """Write the weights in a folder into a model of the same tensors. Raises InputError before any of them changes."""
    _verify(Path(folder))
    _fill(model, Path(folder), model.table.device)


def _fill(model: OmniTransformer, folder: Path, device: torch.device | str) -> None:
    try:
        weights = load_file(folder / "model.safetensors", device=str(device))
    except SafetensorError as error:
        raise InputError(f"{folder}/model.safetensors: cannot be read ({error}); copy it again") from None
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != expected:
        raise InputError(f"{folder}/model.safetensors: its tensors are not those of config.json; use files of one run")
    model.load_state_dict(weights)


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; train one with `omni train` or `omni quickstart`")


def _verify(folder: Path) -> None:
    _check_there(folder)
    for name, expected in read_json(folder / "checksums.json").items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; copy the whole model folder")
        if sha256(path) != expected:
            raise InputError(f"{path}: damaged or truncated (its checksum differs); copy it again")
