"""How probable it is that the user has said all: a small head on the model's states while it listens."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.decode.pipeline import Pipeline
from omni.errors import InputError
from omni.files import read_json
from omni.model.cache import Cache
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt, unsure
from omni.tokenizers import weights
from omni.vocab import Vocabulary

KIND, FOLDER = "omni-ending", "ending"
STATES = 6                                                              # latest steps that are looked at
FRAMES = 32                                                             # latest frames that the model hears for it
HIDDEN = 64


class Ending(nn.Module):
    """Probability of the turn's end from the states [batch, STATES, d_model] of the latest steps of heard audio.

    It knows the model by the checksum of its weights: for any other its word means nothing.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, d_model: int, model: str) -> None:
        super().__init__()
        self.d_model, self.model = d_model, model
        size = STATES * d_model
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.judge = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(size, HIDDEN), nn.GELU(), nn.Dropout(0.5), nn.Linear(HIDDEN, 1)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Log-odds [batch] that the turn has ended."""
        flat = (states.flatten(1) - self.mean) * self.scale             # [batch, STATES * d_model]
        return self.judge(flat)[:, 0]

    @torch.inference_mode()
    def judged(self, pipeline: Pipeline, codes: NDArray[np.int64]) -> float | None:
        """Probability that all was said, of what is certain of the turn so far [frames, codebooks]; None of nothing."""
        if not len(codes):
            return None
        states = latest(pipeline.model, pipeline.vocab, [codes])        # [1, STATES, d_model], where the model is
        return float(self(states.to(self.mean)).sigmoid())

    def config(self) -> dict[str, object]:
        shape = {"d_model": self.d_model, "states": STATES, "frames": FRAMES, "hidden": HIDDEN}
        return {**shape, "model": self.model}

    def save(self, model: Path | str) -> None:
        """Write the head into the folder of its model."""
        weights.save_weights(Path(model) / FOLDER, KIND, self.config(), self)

    @classmethod
    def load(cls, model: Path | str) -> "Ending | None":
        """The head of a model folder, None where there is none. Raises InputError when it is another model's."""
        folder = Path(model) / FOLDER
        if not folder.is_dir():
            return None
        config = read_json(folder / weights.CONFIG)
        found = fingerprint(model)
        if not isinstance(config, dict) or config.get("kind") != KIND or config.get("model") != found:
            raise InputError(f"{folder}: made for another model; run `omni train ending --model {model}`, or delete it")
        if "frames" not in config:                                      # as heads were written before it was fixed
            raise InputError(f"{folder}: made by an earlier version; run `omni train ending --model {model}` again")
        head = cls(int(config["d_model"]), found)
        weights.load_weights(folder, head, head.config(), config.get("fingerprint"), "head")
        return head.eval()


@torch.inference_mode()
def latest(model: OmniTransformer, vocab: Vocabulary, heard: Sequence[NDArray[np.int64]]) -> Tensor:
    """The model's latest states, zeros in front where there are too few, after hearing the last `FRAMES` frames of each
    recording [frames, codebooks], by themselves: [recordings, STATES, d_model].

    (With the conversation before it the same model's states made the head wait 70 ms longer on average, and with all
    that was said before in a long turn it judged what it was never taught.)
    """
    rows = []
    for codes in heard:
        ids = prompt(said := [Segment("audio", codes[-FRAMES:])], vocab)
        rows.append(ids[: len(ids) - unsure(said, vocab)])
    batch = np.zeros((len(rows), max(map(len, rows)), vocab.channels), np.int64)
    for row, ids in zip(batch, rows, strict=True):
        row[: len(ids)] = ids                                           # what is behind it, no state here sees
    cache = Cache.empty(model.config, len(rows), batch.shape[1], model.table)
    states = model.extend(torch.from_numpy(batch).to(model.table.device), cache)  # [rows, steps, d_model]
    short = nn.functional.pad(states, (0, 0, STATES, 0))                # [rows, STATES + steps, d_model]
    return torch.stack([row[len(ids) : len(ids) + STATES] for row, ids in zip(short, rows, strict=True)])


def fingerprint(model: Path | str) -> str:
    """What tells the model in a folder from others: the checksum of its weights."""
    checksums = read_json(Path(model) / "checksums.json")
    return str(checksums.get("model.safetensors", "")) if isinstance(checksums, dict) else ""
