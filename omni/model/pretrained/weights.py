"""A checkpoint's tensors, read from its safetensors files one at a time, when they are asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from omni.errors import InputError
from omni.files import read_json
from omni.model.config import ModelConfig
from omni.model.interop import to_hugging_face
from omni.model.transformer import OmniTransformer

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = ("F32", "BF16", "F16")
DERIVED = ("rotary_emb.inv_freq",)                                      # follow from the config; old files hold them


class Weights(Mapping[str, Tensor]):
    """Tensors by name in one or more safetensors files, none of them in memory."""

    def __init__(self, folder: Path | str) -> None:
        """Open the files of a checkpoint. Raises InputError where one is missing or damaged."""
        self.folder = Path(folder)
        self._file: dict[str, Any] = {}
        for path in _files(self.folder):
            try:
                file = safe_open(path, framework="pt")
                self._file |= dict.fromkeys(file.keys(), file)
            except FileNotFoundError:
                raise InputError(f"{path}: missing; copy the whole checkpoint") from None
            except (SafetensorError, OSError) as error:
                raise InputError(f"{path}: damaged or truncated ({error}); copy it again") from None

    def __getitem__(self, name: str) -> Tensor:
        return self._file[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __len__(self) -> int:
        return len(self._file)

    def check(self, config: ModelConfig) -> None:
        """Refuse tensors that are not exactly those of a shape. Raises InputError naming the first at fault."""
        with torch.device("meta"):                                      # shapes without memory
            expected = to_hugging_face(OmniTransformer(config).state_dict(), config)
        if config.tie_embeddings:
            del expected["lm_head.weight"]                              # a copy of the embedding, where it is there
        for name, tensor in expected.items():
            if name not in self._file:
                raise InputError(f"{self.folder}: {name}: missing from its safetensors; copy the whole checkpoint")
            part = self._file[name].get_slice(name)
            if part.get_shape() != list(tensor.shape):
                raise InputError(
                    f"{self.folder}: {name}: has shape {part.get_shape()} where config.json says {list(tensor.shape)};"
                    " use files of one checkpoint"
                )
            if part.get_dtype() not in DTYPES:
                raise InputError(f"{self.folder}: {name}: numbers of type {part.get_dtype()}; use {', '.join(DTYPES)}")
        for name in self._file:
            if name not in expected and name != "lm_head.weight" and not name.endswith(DERIVED):
                raise InputError(f"{self.folder}: {name}: our model has no such tensor; this checkpoint does more")


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one with config.json, {SINGLE} and tokenizer.json")
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        names = set(index["weight_map"].values()) if isinstance(index, dict) and "weight_map" in index else set()
        if not names or any(Path(name).name != name for name in names):
            raise InputError(f"{folder / INDEX}: no list of the files beside it; copy it again")
        return [folder / name for name in sorted(names)]
    if not (folder / SINGLE).is_file() and any(folder.glob("*.bin")):
        raise InputError(
            f"{folder}: its weights are pickled (*.bin), and a pickle is a program; "
            "take the checkpoint as safetensors, or convert it where you trust it"
        )
    return [folder / SINGLE]
