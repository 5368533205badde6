"""A trained tokenizer's folder: config.json with a kind and a fingerprint, and model.safetensors."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def fingerprint(config: dict[str, Any], module: nn.Module) -> str:
    """Checksum of config and weights, 64 hex digits: equal tokenizers speak the same codes."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_weights(folder: Path | str, kind: str, config: dict[str, Any], module: nn.Module) -> None:
    """Write the weights, then the config with the fingerprint of both; each file whole or not at all."""
    folder = Path(folder)
    with atomic_path(folder / WEIGHTS) as scratch:
        save_file({name: _smallest(value) for name, value in module.state_dict().items()}, scratch)
    write_json(folder / CONFIG, {"kind": kind, **config, "fingerprint": fingerprint(config, module)})


def _smallest(value: Tensor) -> Tensor:
    """The tensor in 16 bits where they say all of it."""
    half = value.half() if value.dtype == torch.float32 else value
    return (half if torch.equal(half.to(value.dtype), value) else value).contiguous()


@torch.no_grad()
def round_to_half(module: nn.Module) -> None:
    """Round weights to what 16 bits can say, which halves their file: when training ends, before there are codes."""
    for value in module.state_dict().values():
        if value.dtype == torch.float32:
            value.copy_(value.half())


def read_config(folder: Path, kind: str, what: str, train: str) -> tuple[dict[str, Any], str | None]:
    """The config in a folder and the fingerprint beside it. Raises InputError when it is missing or of another kind.

    what: the tokenizer in words; train: the verb's word that makes one.
    """
    values = read_json(folder / CONFIG)
    if not isinstance(values, dict) or values.pop("kind", None) != kind:
        raise InputError(f"{folder}: not an omni {what}; train one with `omni tokenizer train {train}`")
    return values, values.pop("fingerprint", None)


def load_weights(folder: Path, module: nn.Module, config: dict[str, Any], expected: str | None, what: str) -> None:
    """Fill a module from a folder. Raises InputError when weights are missing, damaged or not those of the config."""
    path = folder / WEIGHTS
    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; copy the {what} again") from None
    except (SafetensorError, RuntimeError, OSError):
        raise InputError(f"{path}: damaged, or not of this config; copy the {what} again") from None
    if fingerprint(config, module) != expected:
        raise InputError(f"{folder}: weights and config do not match their checksum; copy the {what} again")
