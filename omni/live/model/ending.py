"""How probable it is that the user has said all: a small head on the model's states while it listens."""

from collections import deque
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.decode.pipeline import Pipeline
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.files import read_json
from omni.layout import waiting
from omni.sequence import Segment, prompt
from omni.tokenizers import weights

KIND, FOLDER = "omni-ending", "ending"
STATES = 6                                                              # latest steps that are looked at
HIDDEN = 64
WINDOW = 250                                                            # frames, by which a long turn's past is cut


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

    def config(self) -> dict[str, object]:
        return {"d_model": self.d_model, "states": STATES, "hidden": HIDDEN, "model": self.model}

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
        head = cls(int(config["d_model"]), found)
        weights.load_weights(folder, head, head.config(), config.get("fingerprint"), "head")
        return head.eval()


class Ear:
    """Hears what the user is saying by itself, without the conversation before it, as the head was taught to judge it.

    (With the conversation before it the same model's states made the head wait 70 ms longer on average.)
    `stream` is what it hears with; its latest step may still be to be computed.
    """

    def __init__(self, head: Ending, pipeline: Pipeline) -> None:
        self.head, self.vocab = head, pipeline.vocab
        self.stream = Stream(pipeline.model, max_steps=2 * WINDOW + 8, step=pipeline.step)
        self._states: deque[Tensor] = deque(maxlen=STATES)              # each [1, d_model]
        self._due = False                                               # whether the stream's state is not yet there

    def hear(self, codes: NDArray[np.int64]) -> None:
        """All that is certain of the turn so far [frames, codebooks]; the latest 10 to 20 s of it count."""
        start = max(0, len(codes) // WINDOW - 1) * WINDOW
        ids = prompt([Segment("audio", codes[start:])], self.vocab)
        ids = ids[None, : ids.shape[0] - waiting(self.vocab) - 3]       # without what may still change
        first = len(self.stream) + 1
        if not 0 <= ids.shape[1] - first < STATES:                      # another turn, or much at once
            first, self._due = ids.shape[1], False
            self._states.clear()
        for steps in range(first, ids.shape[1] + 1):
            self._look()
            self.stream.hear(ids[:, :steps], prefix=0)
            self._due = True

    @torch.inference_mode()
    def judged(self) -> float | None:
        """Probability that all was said; None before anything was heard."""
        self._look()
        if not self._states:
            return None
        return float(self.head(padded(torch.cat(list(self._states)))[None]).sigmoid())

    def _look(self) -> None:
        if self._due:
            self._states.append(self.stream.state())
            self._due = False


def padded(states: Tensor) -> Tensor:
    """The latest states [steps, d_model], zeros in front where there are too few: [STATES, d_model]."""
    return nn.functional.pad(states[-STATES:], (0, 0, max(0, STATES - len(states)), 0))


def fingerprint(model: Path | str) -> str:
    """What tells the model in a folder from others: the checksum of its weights."""
    checksums = read_json(Path(model) / "checksums.json")
    return str(checksums.get("model.safetensors", "")) if isinstance(checksums, dict) else ""
