"""A safetensors file written a tensor at a time, so that a model never has to be in memory whole."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.uint8: "U8"}


def save_tensors(path: Path, like: Mapping[str, Tensor], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write named tensors as they come.

    like: tensors of the same names, shapes and types in the same order, as on the meta device: the file begins with
    these (https://huggingface.co/docs/safetensors: eight bytes of length, JSON, then nothing but values).
    """
    header, at = {}, 0
    for name, one in like.items():
        stop = at + one.element_size() * math.prod(one.shape)
        header[name] = {"dtype": NAMES[one.dtype], "shape": list(one.shape), "data_offsets": [at, stop]}
        at = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)                                     # so that the values are aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for expected, (name, tensor) in zip(like, tensors, strict=True):
            if name != expected or tensor.shape != like[name].shape or tensor.dtype != like[name].dtype:
                raise ValueError(f"{name} {list(tensor.shape)} came where {expected} was to be")
            file.write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
