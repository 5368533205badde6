"""Bytes that training takes on one accelerator, part by part.

States follow ZeRO (Rajbhandari et al. 2020) as DeepSpeed 0.19 lays them out: from stage 1 on it keeps fp32 masters even
of fp32 weights. Activations (omni.train.plan.activations) are what autograd saves. `omni bench memory` measures both.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from omni.model.config import ModelConfig
from omni.model.loss import CHUNK
from omni.model.shape import load_shape
from omni.train.buckets import MAX_LIVE, reduce_bucket
from omni.train.plan.activations import Device, activations
from omni.train.plan.share import held, share
from omni.train.recipe import Recipe


@dataclass(frozen=True)
class Memory:
    """Bytes on one accelerator.

    weights, gradients: in the precision of computing; masters: fp32 copies of weights; optimizer: its moments
    activations: saved for backward; recomputed: of one block, in backward with checkpointing
    loss: gradients that the chunked cross-entropy works out in forward
    logits: one chunk of them, in forward alone; scaled: the output's gradient times its own, in backward alone
    buffers: weights that ZeRO 3 has gathered, rotary tables, bf16 copies under autocast, a teacher; bucket: of the
    reduction
    stepping: gradients in the optimizer's step, when activations and bucket are gone: a shard and its fp32 copy
    host, drive: what is offloaded from this accelerator
    """

    weights: float
    gradients: float
    masters: float
    optimizer: float
    activations: float
    recomputed: float
    loss: float
    logits: float
    scaled: float
    buffers: float
    bucket: float
    stepping: float
    host: float
    drive: float
    bucket_stays: bool

    def parts(self) -> dict[str, float]:
        """What makes the fullest moment: the end of forward, backward's begin or course, or the optimizer's step."""
        names = ("weights", "masters", "optimizer")
        held = {name: getattr(self, name) for name in names}
        kept, whole = self.buffers + self.bucket * self.bucket_stays, self.buffers + self.bucket
        moments = [                                                     # gradients, activations, loss, buffers
            (self.gradients, self.activations, self.loss + self.logits, kept),
            (self.gradients, self.activations, self.loss + self.scaled, whole),
            (self.gradients, self.activations + self.recomputed, 0.0, whole),
            (self.stepping, 0.0, 0.0, 0.0),
        ]
        return held | dict(zip(("gradients", "activations", "loss", "buffers"), max(moments, key=sum), strict=True))

    @property
    def total(self) -> float:
        return sum(self.parts().values())


def memory(
    config: ModelConfig,
    recipe: Recipe,
    world: int,
    device: Device = "gpu",
    steps: int | None = None,
    trained: int | None = None,
) -> Memory:
    """Memory of a recipe on each of `world` accelerators.

    steps: that hold a sequence in a micro-batch (default: full rows); trained: those that are predicted (default: all)
    """
    sequence, stage = recipe.parallel.sequence, recipe.zero
    shards = world // recipe.parallel.tensor                            # Ulysses ranks hold shards of ZeRO as well
    parts, size = held(config, recipe.parallel.tensor), bytes_of(recipe)
    count = sum(parts.values())
    steps = (recipe.batch.micro * recipe.sequence_length if steps is None else steps) // sequence
    trained = steps if trained is None else trained // sequence
    weights = size * count / (shards if stage == 3 else 1)
    gradients = size * _gradients(config, recipe.parallel.tensor, stage, shards)
    masters = 4 * count / shards if stage else 0.0
    states = moments(config, parts, recipe) / (shards if stage else 1)
    off_optimizer, off_weights = recipe.offload.optimizer != "none", recipe.offload.weights != "none" and stage == 3
    kept, recomputed = activations(config, recipe, steps, device)
    wide, table = (2 if recipe.precision == "bf16" else 4), config.vocab_size * config.d_model
    gathered = size * min(count, MAX_LIVE) if stage == 3 and shards > 1 else 0.0
    autocast = 2.0 * count if recipe.precision == "bf16" and not stage else 0.0
    return Memory(
        weights=0.0 if off_weights else weights,
        gradients=gradients,
        masters=0.0 if off_optimizer else masters,
        optimizer=0.0 if off_optimizer else states,
        activations=kept,
        recomputed=recomputed,
        loss=wide * (table + trained * config.d_model),
        logits=min(CHUNK["cuda" if device == "gpu" else "cpu"], trained) * config.vocab_size * (4 if wide == 4 else 6),
        scaled=wide * table,
        buffers=gathered + autocast + rope_bytes(config) + _teacher(recipe),
        bucket=size * reduce_bucket(config) if stage else 0.0,
        stepping=(size + 4) * count / shards if stage else gradients,
        host=_offloaded(recipe, "cpu", masters + states, weights),
        drive=_offloaded(recipe, "nvme", masters + states, weights),
        bucket_stays=stage in (1, 3),
    )


def bytes_of(recipe: Recipe) -> int:
    """Bytes of a weight and of its gradient: without ZeRO bf16 is autocast over fp32 weights."""
    return 2 if recipe.precision == "bf16" and recipe.zero else 4


def taught_by(recipe: Recipe) -> ModelConfig | None:
    """The shape of the model that a recipe learns from, which every process has whole. Raises InputError without it."""
    return None if recipe.teacher is None else load_shape(recipe.teacher)[0]


def _teacher(recipe: Recipe) -> float:
    shape = taught_by(recipe)
    return 0.0 if shape is None else float(bytes_of(recipe) * sum(shape.parameters().values()) + rope_bytes(shape))


def rope_bytes(config: ModelConfig) -> int:
    """The rotary tables, sine and cosine in fp32."""
    return 2 * 4 * config.max_steps * config.head_dim


def _offloaded(recipe: Recipe, place: str, states: float, weights: float) -> float:
    """Bytes of the optimizer's states and of the weights that lie at a place."""
    return states * (recipe.offload.optimizer == place) + weights * (recipe.offload.weights == place)


def moments(config: ModelConfig, parts: dict[str, int], recipe: Recipe) -> float:
    """AdamW keeps two fp32 numbers a parameter, Muon one for each of the blocks' matrices, Adafactor one for each of
    their rows and columns."""
    if recipe.optimizer.kind == "adafactor":
        return 4.0 * _rows_and_columns(config, parts)
    matrices = parts["blocks"] + parts["output"] if recipe.optimizer.kind == "muon" else 0
    return 8.0 * sum(parts.values()) - 4.0 * matrices


def _rows_and_columns(config: ModelConfig, parts: dict[str, int]) -> int:
    """Rows and columns of all matrices, and the numbers of all vectors."""
    d, q, kv = config.d_model, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    block = (q + 2 * kv + d) + (d + q) + (2 * config.d_ff + d) + (d + config.d_ff)
    vectors = parts["blocks"] // config.n_layers - (2 * q + 2 * kv + 3 * config.d_ff) * d
    tables = 1 if config.tie_embeddings else 2
    heads = 2 * parts["channel_heads"] // d                             # about: its matrices are square
    return config.n_layers * (block + vectors) + tables * (config.vocab_size + d) + d + heads


def _gradients(config: ModelConfig, tensor: int, stage: int, shards: int) -> float:
    """Elements of gradients that the fullest rank holds between micro-batches.

    Stage 2 keeps the whole gradient of a parameter that its shard only touches: a large table stays whole everywhere.
    """
    parts, blocks = held(config, tensor), share(config, tensor)
    count = float(sum(parts.values()))
    if stage < 2 or shards == 1:
        return count
    if stage == 3:
        return count / shards
    d, q, kv, units = blocks.d_model, *(n * blocks.head_dim for n in (blocks.n_heads, blocks.n_kv_heads)), blocks.d_ff
    matrices = [(q + 2 * kv) * d, d * q, 2 * d * units, units * d] * config.n_layers
    matrices += [parts["output"]] * (parts["output"] > 0)               # the optimizer's groups: decay, and none
    small = int(count) - sum(matrices) - parts["embedding"]
    return _touched(matrices, shards) + _touched([parts["embedding"], small], shards)


def _touched(sizes: list[int], shards: int) -> float:
    """The most elements of the parameters that one of `shards` equal parts of them, laid end to end, overlaps."""
    edges = np.cumsum([0, *sizes])                                      # [parameters + 1]
    cuts = np.linspace(0, edges[-1], shards + 1)
    return float(max(
        edges[np.searchsorted(edges, stop)] - edges[np.searchsorted(edges, start, side="right") - 1]
        for start, stop in pairwise(cuts)
    ))  # fmt: skip
