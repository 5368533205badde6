"""Utilities by a network's embeddings: how near to each other two answers lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from omni.decode.mbr.ngrams import Scores
from omni.decode.mbr.utilities import Aggregation, Utility, check_kind
from omni.errors import InputError

Given = TypeVar("Given")
Embed: TypeAlias = Callable[[Sequence[Given]], NDArray[Any]]            # answers to vectors [answers, d]
AT_ONCE = 32                                                            # texts that the network reads together


@dataclass(frozen=True, eq=False)
class Cosine(Generic[Given]):
    """The cosine of two answers' embeddings."""

    embed: Embed[Given]

    def __call__(self, hypotheses: Sequence[Given], references: Sequence[Given]) -> Scores:
        ours = _unit(self.embed(hypotheses))                            # [H, d]
        theirs = ours if references is hypotheses else _unit(self.embed(references))
        scores: Scores = ours @ theirs.T
        return scores

    def remembering(self) -> "Cosine[Given]":
        """The same, embedding each answer once and keeping that."""
        known: dict[Given, NDArray[Any]] = {}

        def embed(answers: Sequence[Given]) -> NDArray[Any]:
            if new := [answer for answer in dict.fromkeys(answers) if answer not in known]:
                known.update(zip(new, self.embed(new), strict=True))
            return np.stack([known[answer] for answer in answers])

        return Cosine(embed)

    def aggregation(self) -> Aggregation[Given]:
        """Against the mean of the references' embeddings of length 1: exactly the mean of the cosines, for a product
        with a sum is the sum of the products."""

        def of_mean(hypotheses: Sequence[Given], references: Sequence[Given], share: Scores) -> Scores:
            ours = _unit(self.embed(hypotheses))                        # [H, d]
            theirs = ours if references is hypotheses else _unit(self.embed(references))
            expected: Scores = ours @ (share @ theirs)
            return expected

        return of_mean


def cosine(embed: Embed[Given]) -> Utility[Given]:
    """The cosine of two answers' embeddings, -1..1: of texts by `sentences`, of voices by any speaker encoder."""
    return Cosine(embed)


def sentences(folder: Path) -> Embed[str]:
    """Sentence embeddings of an encoder in a local folder, as transformers saves it: the mean of its last states.

    (Reimers and Gurevych 2019.) Nothing is downloaded. Raises InputError for a folder without a model or tokenizer.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json there; name the folder of an encoder that transformers saved")
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        cause = str(error).splitlines()[0]
        raise InputError(f"{folder}: not an encoder that transformers can load ({cause})") from None

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> NDArray[Any]:
        check_kind(str, "texts", texts)
        found = []
        for start in range(0, len(texts), AT_ONCE):
            some = list(texts[start : start + AT_ONCE])
            inputs = tokenizer(some, padding=True, truncation=True, max_length=256, return_tensors="pt")
            states = model(**inputs).last_hidden_state                  # [some, tokens, d]
            mask = inputs["attention_mask"][..., None]                  # [some, tokens, 1]
            found.append(((states * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)).numpy())
        return np.concatenate(found)

    return embed


def _unit(vectors: NDArray[Any]) -> Scores:
    """Rows of length 1, or of zeros: [answers, d]."""
    rows: Scores = np.asarray(vectors, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
