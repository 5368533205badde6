"""How probable it is that the user has said all: a small head on the model's states while it listens."""

from collections import deque
from pathlib import Path

import torch
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import read_json
from omni.tokenizers import weights

KIND, FOLDER = "omni-ending", "ending"
STATES = 6                                                              # latest steps that are looked at
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


class Recent:
    """The states of the latest steps of what is being heard."""

    def __init__(self) -> None:
        self._states: deque[Tensor] = deque(maxlen=STATES)

    def add(self, state: Tensor) -> None:
        """One more step's state [1, d_model]."""
        self._states.append(state)

    def forget(self) -> None:
        self._states.clear()

    def judged(self, head: Ending) -> float | None:
        """The head's probability; None before anything was heard."""
        return probability(head, list(self._states)) if self._states else None


def padded(states: Tensor) -> Tensor:
    """The latest states [steps, d_model], zeros in front where there are too few: [STATES, d_model]."""
    return nn.functional.pad(states[-STATES:], (0, 0, max(0, STATES - len(states)), 0))


@torch.inference_mode()
def probability(head: Ending, states: list[Tensor]) -> float:
    """Of the turn's end, after states [1, d_model] of the latest steps."""
    return float(head(padded(torch.cat(states))[None]).sigmoid())


def fingerprint(model: Path | str) -> str:
    """What tells the model in a folder from others: the checksum of its weights."""
    checksums = read_json(Path(model) / "checksums.json")
    return str(checksums.get("model.safetensors", "")) if isinstance(checksums, dict) else ""
