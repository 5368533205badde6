"""What a row of training costs, counted rather than timed, so that variants can be given equal compute."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omni.model.config import ModelConfig
from omni.train.data.loader import Dataset
from omni.train.data.order import BLOCK, quotas
from omni.train.recipe import MixtureRecipe


@dataclass(frozen=True)
class Cost:
    """Of an average row of a mixture: multiply-adds of its training, steps that hold a document, and documents."""

    multiply_adds: float
    steps: float
    documents: float


def costs(data: Dataset, config: ModelConfig) -> dict[str, Cost]:
    """Of an average row of each task.

    A matrix counts for every step that passes it, forward once and backward twice: blocks for all steps, attention's
    two products for the steps that each step sees, the output table for trained steps alone, the heads of the later
    codebooks as they are used.
    """
    found = {}
    for task, rows in data.rows.items():
        shards = [part.shard for part in data.parts if part.shard.task == task]
        lengths = np.concatenate([shard.index["length"] for shard in shards]).astype(np.float64)
        trained = sum(shard.trained for shard in shards)
        audio = data.vocab["audio"]
        later = sum(int(shard.targets[1:, audio.start : audio.stop].sum()) for shard in shards)
        forward = _forward(config, lengths, trained, later)
        found[task] = Cost(3 * forward / rows, float(lengths.sum()) / rows, len(lengths) / rows)
    return found


def _forward(config: ModelConfig, lengths: np.ndarray, trained: int, later: int) -> float:
    """Multiply-adds of the forward pass. lengths: [documents]; later: trained codes of codebooks after the first."""
    parts, width = config.parameters(), config.n_heads * config.head_dim
    blocks = parts["blocks"] * lengths.sum()
    attention = 2 * config.n_layers * width * (lengths**2).sum() / 2
    depths = config.channels - 1 if config.layout == "depth" else 1     # its blocks see each codebook of a frame
    heads = parts["channel_heads"] * depths * trained + config.codebook_size * config.d_model * later
    return float(blocks + attention + config.vocab_size * config.d_model * trained + heads)


def mean_cost(data: Dataset, config: ModelConfig, stages: Sequence[tuple[float, MixtureRecipe]]) -> Cost:
    """Of an average row of a run. stages: (share of the steps, mixture) of each."""
    of_task = list(costs(data, config).values())
    share = np.zeros(len(of_task))
    for part, mixture in stages:
        share += part * quotas(data.rows, mixture.temperature, mixture.weights) / BLOCK
    columns = [[one.multiply_adds, one.steps, one.documents] for one in of_task]
    return Cost(*(share @ np.array(columns)).tolist())
