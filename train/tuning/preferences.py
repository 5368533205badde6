"""Direct preference optimization (Rafailov et al. 2023) in the loop of the engine: another loss, the same run.

The loss of a pair is -log sigmoid(beta * ((chosen - its reference) - (rejected - its reference))) of log-probabilities
of answers; the references are those of the model that the run starts from, computed once and kept beside the shard.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from omni.files import atomic_path
from omni.model.folder import load_model
from omni.model.transformer import Batch, Losses, OmniTransformer
from omni.train.data.loader import GlobalBatch, rows_at
from omni.train.data.pack import Packed, batch_of
from omni.train.engine import Trainer
from omni.train.monitor.log import Monitor
from omni.train.monitor.tally import Tally
from omni.train.recipe import Recipe
from omni.train.tuning.prepare import identity
from omni.vocab import Vocabulary

CHUNK = 512                                                             # rows of logits alive at a time
TOLD = ("loss", "margin", "accuracy", "chosen", "rejected")
References = NDArray[np.float32]                                        # [sequences, 2]: chosen, rejected


def dpo_loss(policy: Tensor, reference: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Losses [pairs] and rewards [pairs, 2], beta times what the policy gained on the reference.

    policy, reference: [pairs, 2], log-probabilities of the chosen and the rejected answer.
    """
    rewards = beta * (policy - reference)
    return -F.logsigmoid(rewards[:, 0] - rewards[:, 1]), rewards


def log_probabilities(model: OmniTransformer, batch: Batch) -> Tensor:
    """Log-probability of the steps with loss of both answers of every pair in packed rows: [pairs, 2], differentiable.

    A document of the batch is a pair; the pairs come row by row.
    """
    batch = apart(batch)
    follows = (batch.document[:, 1:] == batch.document[:, :-1]) & (batch.document[:, 1:] > 0)
    trained = batch.loss[:, 1:] & follows                               # [batch, steps - 1]
    states = model.hidden(batch)[:, :-1][trained]                       # [trained, d_model]
    targets = batch.ids[:, 1:, 0][trained]
    parts = zip(states.split(CHUNK), targets.split(CHUNK), strict=True)
    scores = torch.cat([checkpoint(_scores, s, model.table, t, use_reentrant=False) for s, t in parts])  # [trained]
    most = batch.document.amax(dim=1)                                   # answers of each row
    answer = (batch.document + (most.cumsum(0) - most)[:, None])[:, 1:][trained] - 1
    return scores.new_zeros(int(most.sum())).index_add(0, answer, scores).view(-1, 2)


def apart(batch: Batch) -> Batch:
    """Packed pairs as packed conversations, numbered anew: odd ones are chosen, the next even one is rejected.

    `<bos>`, the first id of a row, begins a conversation and nothing else.
    """
    real = batch.document > 0
    begins = (batch.ids[..., 0] == batch.ids[:, :1, 0]) & real
    return Batch(batch.ids, batch.loss, begins.cumsum(dim=1) * real, batch.prefix)


def _scores(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities [rows] of targets [rows] after states [rows, d_model], in float32."""
    logits = (states @ table.T).float()                                 # [rows, vocab]
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)


class PairStep(nn.Module):
    """The model as DeepSpeed likes it: tensors in, log-probabilities [pairs, 2] out."""

    def __init__(self, model: OmniTransformer, autocast: bool) -> None:
        super().__init__()
        self.model, self.autocast = model, autocast

    def forward(self, ids: Tensor, loss: Tensor, document: Tensor, prefix: Tensor) -> Tensor:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.autocast):
            return log_probabilities(self.model, Batch(ids, loss, document, prefix))


class PairTally(Tally):
    """Sums over pairs of what `TOLD` names, and their number: [6]."""

    def __init__(self, vocab: Vocabulary) -> None:
        super().__init__((), vocab)
        self.sums = torch.zeros(len(TOLD) + 1, dtype=torch.float64)

    def add_pairs(self, losses: Tensor, rewards: Tensor) -> None:
        """losses: [pairs]; rewards: [pairs, 2]."""
        margins = rewards[:, 0] - rewards[:, 1]
        values = (losses, margins, margins > 0, rewards[:, 0], rewards[:, 1], torch.ones_like(losses))
        self.sums += torch.stack([value.detach().double().sum().cpu() for value in values])

    def figures(self) -> dict[str, float]:
        """Means over the pairs. margin: between the rewards; accuracy: share of pairs whose chosen reward is higher."""
        *sums, count = self.sums.tolist()
        return {name: value / count for name, value in zip(TOLD, sums, strict=True)} if count else {}

    @property
    def mean(self) -> float:
        return self.figures().get("loss", float("nan"))

    def by_task(self) -> dict[str, float]:
        return {"dpo": self.mean}

    def by_modality(self) -> dict[str, float]:
        return {}


class PreferenceTrainer(Trainer):
    """A run of DPO in one process."""

    step_module = PairStep

    def __init__(self, recipe: Recipe, run: Path, device: str = "auto", changed_recipe: bool = False) -> None:
        super().__init__(recipe, run, device, changed_recipe)
        assert recipe.beginning is not None                             # the recipe sees to it
        frozen = None
        self.references: dict[str, References] = {}                     # by the shard's fingerprint
        for part in (*self.data.parts, *(self.valid.parts if self.valid else ())):
            path = part.shard.folder / f"reference-{identity(recipe.beginning)}-{part.shard.fingerprint}.npy"
            found = _read(path, part)
            (missing,) = self._sum(torch.tensor([float(found is None)]))
            if missing or found is None:                                # all ranks compute, or none
                frozen = frozen or load_model(recipe.beginning, self.device)[0]
                found = self._compute(frozen, part)
                if self.rank == 0:
                    with contextlib.suppress(OSError), atomic_path(path) as scratch:  # a read-only folder costs time
                        np.save(scratch, found)
            self.references[part.shard.fingerprint] = found

    @torch.no_grad()
    def _compute(self, frozen: OmniTransformer, part: Packed) -> References:
        """References of all sequences in the part's rows, each rank a share of them; of others, not a number."""
        values = torch.zeros(len(part.shard), 2, dtype=torch.float64)
        known = torch.zeros(len(part.shard), dtype=torch.float64)
        micro = self.recipe.batch.micro
        for start in range(self.rank * micro, len(part), self.world * micro):
            rows = range(start, min(start + micro, len(part)))
            sequences = np.concatenate([_sequences(part, row) for row in rows])
            batch = batch_of((part, row) for row in rows).to(self.device)
            values[sequences] = log_probabilities(frozen, batch).double().cpu()
            known[sequences] = 1
        values, known = self._sum(values, known)
        return (values / known[:, None]).float().numpy()

    def losses(self, batch: GlobalBatch, tally: Tally) -> Iterator[Losses]:
        """As the engine wants them; `each` is the loss of each pair."""
        found = self._found(self.cursor)[self.share.rank :: self.share.world]
        for number, micro in enumerate(batch.micro):
            rows = found[number * self.share.width : (number + 1) * self.share.width]
            yield self._pair_losses(micro, self._reference(rows), tally)

    def weight(self, batch: GlobalBatch) -> int:
        return sum(len(_sequences(part, row)) for part, row in self._found(self.cursor))

    def new_tally(self) -> Tally:
        return PairTally(self.data.vocab)

    def _pair_losses(self, batch: Batch, reference: Tensor, tally: Tally) -> Losses:
        batch = batch.to(self.device)
        policy = self.engine(batch.ids, batch.loss, batch.document, batch.prefix)
        losses, rewards = dpo_loss(policy.float(), reference, self.recipe.dpo.beta)
        assert isinstance(tally, PairTally)
        tally.add_pairs(losses, rewards)
        nothing = torch.zeros(0, dtype=torch.long)                      # pairs have no single row and no single target
        return Losses(losses.sum() + 0 * policy.sum(), losses.detach(), nothing, nothing, losses.new_zeros(2))

    def _found(self, cursor: int) -> list[tuple[Packed, int]]:
        """The rows of the global batch at a row."""
        return rows_at(self.data, self.stages.order, cursor, self.share.rows)[1]

    def _reference(self, rows: list[tuple[Packed, int]]) -> Tensor:
        """References of the pairs in rows: [pairs, 2]."""
        found = [self.references[part.shard.fingerprint][_sequences(part, row)] for part, row in rows]
        return torch.from_numpy(np.concatenate([np.zeros((0, 2), np.float32), *found])).to(self.device)

    def _validate(self, rows: list[tuple[int, int]], monitor: Monitor | None) -> None:
        assert self.valid is not None
        self.engine.eval()
        tally, micro = PairTally(self.data.vocab), self.recipe.batch.micro
        with torch.no_grad():
            for start in range(0, len(rows), micro * self.world):       # all ranks equally often, as in `validate`
                mine = [self.valid.find(*row) for row in rows[start + self.rank * micro :][:micro]]
                shown = mine or [self.valid.find(*rows[0])]
                counted = tally if mine else PairTally(self.data.vocab)
                self._pair_losses(batch_of(shown), self._reference(shown), counted)
        tally.sums = self._sum(tally.sums)[0]
        if monitor:
            monitor.valid({"step": self.step, **tally.figures(), "tasks": tally.by_task(), "modalities": {}})

    def _record(self, tally: Tally, steps_seen: float, seconds: float, steps: int) -> dict[str, Any]:
        assert isinstance(tally, PairTally)
        return {**super()._record(tally, steps_seen, seconds, steps), **tally.figures()}


def trainer_of(recipe: Recipe) -> type[Trainer]:
    """The trainer that the recipe asks for."""
    return PreferenceTrainer if recipe.dpo.beta else Trainer


def _sequences(part: Packed, row: int) -> np.ndarray:
    """Numbers of the sequences in a row."""
    return np.asarray(part.order[part.starts[row] : part.starts[row + 1]])


def _read(path: Path, part: Packed) -> References | None:
    """The kept references, unless some that the rows need are not among them."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None
    fits = found.shape == (len(part.shard), 2) and not np.isnan(found[np.asarray(part.order)]).any()
    return found if fits else None
