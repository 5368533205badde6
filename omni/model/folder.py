"""A model on disk: config.json, vocab.json, model.safetensors, checksums.json and, beside them, its tokenizers.

languages.json tells which languages it learnt, where that is known: a vocabulary has tags for all of its data's texts.
One-bit matrices may lie in it with eight weights a byte, as NAME.bits and NAME.scale (omni.model.binary).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256, write_json
from omni.model.binary import BITS, pack_state, packed_shapes, unpack_state
from omni.model.config import ModelConfig
from omni.model.shape import check_there, load_shape
from omni.model.stream import save_tensors
from omni.model.transformer import OmniTransformer
from omni.vocab import Vocabulary

WEIGHTS = "model.safetensors"
LANGUAGES = "languages.json"
FILES = ("config.json", "vocab.json", WEIGHTS)
AT_ONCE = 1 << 24                                                       # numbers of a tensor that are read together


def save_model(folder: Path | str, weights: dict[str, Tensor], config: ModelConfig, vocab: Vocabulary) -> None:
    """Write a model folder atomically, replacing an older one. `weights` is a model's state_dict."""
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        save_tensors(scratch / WEIGHTS, weights, weights.items())
        complete(scratch, config, vocab)


def save_packed(folder: Path | str, model: OmniTransformer, vocab: Vocabulary) -> None:
    """Write a folder of a model of one-bit matrices with eight weights a byte, atomically: to be used, not trained.

    The floats that training moves are not kept. Raises InputError for a model of floats.
    """
    if model.config.weight_bits != 1:
        raise InputError("a model of floats has no one-bit matrices to pack; train one with model.weight_bits: 1")
    state = pack_state(model)
    weights = dict(sorted(state.items(), key=lambda one: -one[1].element_size()))  # so that floats are aligned
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        save_tensors(scratch / WEIGHTS, weights, weights.items())
        complete(scratch, model.config, vocab)


def complete(folder: Path, config: ModelConfig, vocab: Vocabulary, languages: Sequence[str] | None = None) -> None:
    """Write what else belongs into a folder that has the weights; languages: those that they learnt, where known."""
    if languages is not None:
        write_json(folder / LANGUAGES, sorted(languages))
    write_json(folder / "config.json", config.as_dict())
    vocab.save(folder / "vocab.json")
    write_json(folder / "checksums.json", {name: sha256(folder / name) for name in FILES})


def learnt_languages(folder: Path | str) -> list[str] | None:
    """The languages that a folder's model learnt, None where nobody knows. Raises InputError for a damaged list."""
    path = Path(folder) / LANGUAGES
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{path}: not a list of languages; delete it, or copy it from the run")
    return found


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> tuple[OmniTransformer, Vocabulary]:
    """The model in a folder, in evaluation mode, and its vocabulary.

    Raises InputError, before any weight is used, when a file is missing, damaged, or does not fit the others, and for
    a device that is not there.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device}: cannot be used ({str(error).splitlines()[0]}); use cpu") from None
    verify(folder)
    config, vocab = load_shape(folder)
    model, found = OmniTransformer(config), _shapes(Path(folder) / WEIGHTS)
    if _packed(found):
        if found != packed_shapes(model):
            raise _other(Path(folder) / WEIGHTS)
        model.load_state_dict(unpack_state(load_file(Path(folder) / WEIGHTS), model))
        return model.to(device).eval(), vocab
    weights = Weights(folder, {name: parameter.shape for name, parameter in model.named_parameters()})
    for name, parameter in model.named_parameters():
        weights.read(parameter.detach().view(-1), 0, name)
    return model.to(device).eval(), vocab


class Weights:
    """The tensors of a model folder, of which any part can be read by itself."""

    def __init__(self, folder: Path | str, shapes: Mapping[str, torch.Size]) -> None:
        """shapes: of the model that is to have them. Raises InputError where the folder has others."""
        self.path = Path(folder) / WEIGHTS
        found = _shapes(self.path)
        if _packed(found):                                              # signs alone would have no gradient
            raise InputError(f"{self.path}: packed, so not to be trained on; begin with the model that it was made of")
        if found != dict(shapes):
            raise _other(self.path)

    @torch.no_grad()
    def read(self, flat: Tensor, start: int, name: str) -> None:
        """Write values `start` to `start + numel` of a flattened tensor into `flat`, [numel] of any device and type."""
        with safe_open(self.path, "pt") as file:                        # closed again, so that no page stays mapped
            stored = file.get_slice(name)
            width, stop = math.prod(stored.get_shape()[1:]), start + len(flat)
            at_once = max(1, AT_ONCE // width)
            for row in range(start // width, -(-stop // width), at_once):
                first = row * width
                part = stored[row : row + at_once].flatten()[max(0, start - first) : stop - first]
                at = max(0, first - start)
                flat[at : at + len(part)] = part.to(flat.device)


def _shapes(path: Path) -> dict[str, torch.Size]:
    try:
        with safe_open(path, "pt") as file:
            return {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read ({error}); copy it again") from None


def _packed(names: Iterable[str]) -> bool:
    return any(name.endswith(BITS) for name in names)


def _other(path: Path) -> InputError:
    return InputError(f"{path}: its tensors are not those of config.json; use files of one run")


def verify(folder: Path | str) -> None:
    """Raise InputError where a file of a model folder is missing or damaged."""
    folder = Path(folder)
    check_there(folder)
    checksums = read_json(folder / "checksums.json")
    if not isinstance(checksums, dict):
        raise InputError(f"{folder}/checksums.json: not a mapping of files to checksums; copy it again")
    for name, expected in checksums.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; copy the whole model folder")
        if sha256(path) != expected:
            raise InputError(f"{path}: damaged or truncated (its checksum differs); copy it again")
