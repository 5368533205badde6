"""The decoder-only Transformer over the shared token space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from omni.model.attention import Attention, Rope
from omni.model.binary import linear
from omni.model.cache import Cache
from omni.model.config import ModelConfig
from omni.model.documents import Documents
from omni.model.fused import RMSNorm
from omni.model.heads import channel_head
from omni.model.init import initialise
from omni.model.loss import linear_cross_entropy
from omni.model.masks import packed_mask, positions_in
from omni.model.reading import Reading
from omni.model.sequence_parallel import SequenceParallel
from omni.model.teacher import Teacher


@dataclass
class Batch:
    """Packed rows of training data.

    ids: [batch, steps, channels] long; loss: [batch, steps] bool, whether predicting the step is trained
    document: [batch, steps] long, which document of the row a step belongs to, 0 for padding
    prefix: [batch, steps] bool, the fully visible prompt of each document
    reading: what speech in it says, where states must spell it
    """

    ids: Tensor
    loss: Tensor
    document: Tensor
    prefix: Tensor
    reading: Reading | None = None

    def to(self, device: torch.device | str) -> "Batch":
        ids, loss, document, prefix = (one.to(device) for one in (self.ids, self.loss, self.document, self.prefix))
        return Batch(ids, loss, document, prefix, None if self.reading is None else self.reading.to(device))


@dataclass
class Losses:
    """What training and evaluation look at, over the trained steps of a batch.

    total: differentiable sum, z-loss, text_weight, reading and teacher included; each: [trained] cross-entropy;
    row: [trained] row of the batch; target: [trained] id of the first channel; spelt: nats of all letters that were
    read, and how many
    """

    total: Tensor
    each: Tensor
    row: Tensor
    target: Tensor
    spelt: Tensor


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020), with inner_norms normalised inside and behind."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner_norms = config.inner_norms
        self.gate_up = linear(config, config.d_model, 2 * config.d_ff)
        self.down = linear(config, config.d_ff, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        hidden = F.silu(gate) * up
        if not self.inner_norms:
            return self.down(hidden)
        x = self.down(F.layer_norm(hidden, hidden.shape[-1:]))
        return F.layer_norm(x, x.shape[-1:])


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask)
        return x + self.feed_forward(self.feed_forward_norm(x))

    def packed(self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Callable[..., Tensor]) -> Tensor:
        """The same as `forward` on steps out of their rows, [steps, d_model] to the same; `attend` mixes q, k and v."""
        return self.after(x, attend(*self.before(x, rope)))

    def before(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return self.attention.packed(self.attention_norm(x), rope)

    def after(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.attention.projected(mixed.flatten(1))
        return x + self.feed_forward(self.feed_forward_norm(x))

    def extend(
        self, x: Tensor, rope: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor], at: int, mask: Tensor | None
    ) -> Tensor:
        x = x + self.attention.extend(self.attention_norm(x), rope, past, at, mask)
        return x + self.feed_forward(self.feed_forward_norm(x))

    def join(
        self, x: Tensor, rope: tuple[Tensor, Tensor], past: Sequence[Tensor], place: tuple[Tensor, Tensor], seen: Tensor
    ) -> Tensor:
        x = x + self.attention.join(self.attention_norm(x), rope, past, place, seen)
        return x + self.feed_forward(self.feed_forward_norm(x))


class OmniTransformer(nn.Module):
    """One stream in, the next step of the same stream out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.vocab_size <= 0:
            raise ValueError("the config has no vocabulary; use config.for_vocabulary(vocab)")
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.rope = Rope(config.head_dim, config.max_steps, config.rope_theta, config.rope_scaling)
        self.blocks = cast(Sequence[Block], nn.ModuleList(Block(config) for _ in range(config.n_layers)))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.output = None if config.tie_embeddings else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.channel_head = channel_head(config)
        self.recompute = False
        self.parallel: SequenceParallel | None = None
        self.teacher: Teacher | None = None
        initialise(self, config)

    @property
    def table(self) -> Tensor:
        """Output weights [vocab, d_model]."""
        return self.embedding.weight if self.output is None else self.output.weight

    @property
    def tables(self) -> list[Tensor]:
        """The embedding and, where it is another one, the output table, [vocab, d_model] each."""
        return [self.embedding.weight] if self.output is None else [self.embedding.weight, self.output.weight]

    def forward(self, batch: Batch) -> Losses:
        """Losses of the trained steps of packed rows; the first step of a document is predicted by nothing."""
        follows = (batch.document[:, 1:] == batch.document[:, :-1]) & (batch.document[:, 1:] > 0)
        trained = batch.loss[:, 1:] & follows                           # [batch, steps - 1]
        ids = batch.ids[:, 1:][trained]                                 # [trained, channels]
        row, column = trained.nonzero(as_tuple=True)                    # the state before a step predicts it
        index = row * batch.ids.shape[1] + column
        states, speaking, here = self.states_at(batch, index)
        if here is not None:                                            # the others are with other processes
            ids, row = ids[here], row[here]
        total, each = self._first_channel(states, ids[:, 0])
        if self.teacher is not None and torch.is_grad_enabled():
            counts = torch.where(ids[:, 0] < self.config.audio_start, self.config.text_weight, 1.0)
            total = self.teacher.mixed(total, batch, index, states, self.table, counts)
        if self.channel_head is not None:
            rest, more = self.channel_head.loss(states, ids, self.embedding.weight)
            total, each = total + rest, each + more
        spelt, reading = each.new_zeros(2), batch.reading
        if reading is not None:
            nats = reading.loss(speaking, self.table)
            total, spelt = total + reading.weight * nats, torch.stack((nats.detach(), reading.lengths.sum()))
        return Losses(total, each, row, ids[:, 0], spelt)

    def _first_channel(self, states: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Summed loss, in which text and control tokens weigh `text_weight`, and each step's own without: [trained]."""
        if self.config.text_weight == 1.0:
            return linear_cross_entropy(states, self.table, target, self.config.z_loss)
        text = target < self.config.audio_start
        total, each = states.new_zeros((), dtype=torch.float32), states.new_zeros(len(target), dtype=torch.float32)
        for weight, these in ((self.config.text_weight, text), (1.0, ~text)):
            part, own = linear_cross_entropy(states[these], self.table, target[these], self.config.z_loss)
            total, each = total + weight * part, each.to(own.dtype)     # float64 within `twice_differentiable`
            each[these] = own
        return total, each

    def states_at(self, batch: Batch, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """States after the last layer at flat indices batch * steps, [n, d_model]; those that are read, [heard,
        d_model], after their layer; and which of the first are here, if not all."""
        heard = index[:0] if batch.reading is None else batch.reading.place.flatten()
        layer, here = self.config.n_layers if batch.reading is None else batch.reading.layer, None
        if self._by_document:
            documents = Documents.of(batch.document)
            index, heard = documents.place[index], documents.place[heard]
            if self.parallel is not None:
                here, index = self.parallel.mine(index, len(documents.order))
            last, middle = self._packed(batch, documents, layer, self.parallel)
        else:
            last, middle = (states.flatten(0, 1) for states in self._by_mask(batch, layer))
        return self.norm(last.index_select(0, index)), self.norm(middle.index_select(0, heard)), here

    def hidden(self, batch: Batch, layer: int | None = None) -> Tensor:
        """States after a layer, the last if none is named, normed: [batch, steps, d_model], zero where padded."""
        layer = layer or self.config.n_layers
        if not self._by_document:
            return self.norm(self._by_mask(batch, layer)[1]) * (batch.document > 0)[..., None]
        documents = Documents.of(batch.document)
        states = self.norm(self._packed(batch, documents, layer)[1])    # [real, d_model]
        whole = states.new_zeros(batch.document.numel(), states.shape[1])
        whole = whole.index_copy(0, documents.order, states).unflatten(0, batch.document.shape)
        return whole * (batch.document > 0)[..., None]

    @property
    def _by_document(self) -> bool:
        """Whether attention goes document by document: all but a prefix, which needs a mask."""
        return not self.config.prefix

    def _packed(
        self, batch: Batch, documents: Documents, layer: int, parallel: SequenceParallel | None = None
    ) -> tuple[Tensor, Tensor]:
        """States of the real steps alone, or of this process's part of them: after the last layer and after `layer`,
        [real, d_model] each, before the norm."""
        order, position, attend = documents.order, documents.position, documents.attend
        if parallel is not None:
            order, position = parallel.part(order), parallel.part(position)
            attend = partial(parallel.attend, documents)
        cos, sin = self.rope(position[None])                            # [1, 1, steps, head_dim]
        rope = cos[0, 0, :, None], sin[0, 0, :, None]
        x = self.embed(batch.ids.flatten(0, 1)[order][None])[0]
        return self._climb([block.packed for block in self.blocks], layer, x, rope, attend)

    def _by_mask(self, batch: Batch, layer: int) -> tuple[Tensor, Tensor]:
        """As `_packed`, of whole rows under a dense mask: [batch, steps, d_model] each."""
        mask = packed_mask(batch.document, batch.prefix if self.config.prefix else None)
        rope = self.rope(positions_in(batch.document))
        return self._climb(self.blocks, layer, self.embed(batch.ids), rope, mask)

    def _climb(
        self, blocks: Sequence[Callable[..., Tensor]], layer: int, x: Tensor, *others: Any
    ) -> tuple[Tensor, Tensor]:
        """x after the last of the blocks, and after number `layer` of them."""
        middle = x
        for number, block in enumerate(blocks, start=1):
            x = self._through(block, x, *others)
            middle = x if number <= layer else middle
        return x, middle

    def _through(self, block: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """A block's output; with `recompute` only its input is kept, and the backward pass computes it again.

        (Chen et al. 2016: memory of one block instead of all, for a third more time.)
        """
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def compile_blocks(self) -> None:
        """Compile what surrounds attention in every block, for any number of steps. The first step takes its time."""
        for block in self.blocks:
            for name in ("before", "after"):
                setattr(block, name, torch.compile(getattr(block, name), dynamic=True))

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [batch, steps, channels] to summed embeddings [batch, steps, d_model]; `<pad>` (id 0) adds nothing."""
        if self.config.channels == 1:
            return self.embedding(ids[..., 0])
        return (self.embedding(ids) * (ids != 0)[..., None]).sum(dim=2)

    def extend(self, ids: Tensor, cache: Cache, visible: bool = False) -> Tensor:
        """States of new steps after the cached ones, which they join.

        ids: [batch, steps, channels]; returns [batch, steps, d_model].

        visible: the new steps see each other whole (a prompt of a `prefix` model), otherwise only their past.
        Raises ValueError when the cache is full.
        """
        at, steps = cache.length, ids.shape[1]
        if at + steps > cache.max_steps:
            raise ValueError(f"{at + steps} steps do not fit the cache of {cache.max_steps}")
        index = torch.arange(at, at + steps, device=ids.device)
        rope = self.rope((index - cache.padding[:, None]).clamp(min=0))
        mask = self._cache_mask(cache, index, visible)
        x = self.embed(ids)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = block.extend(x, rope, (keys, values), at, mask)
        cache.length += steps
        return self.norm(x)

    @staticmethod
    def _cache_mask(cache: Cache, index: Tensor, visible: bool) -> Tensor | None:
        """[batch, 1, steps, seen] bool for steps at `index`, or None where a single step sees everything."""
        padded = bool(cache.padding.any())
        if len(index) == 1 and not padded:
            return None
        seen = torch.arange(int(index[-1]) + 1, device=index.device)
        past = torch.ones_like(seen, dtype=torch.bool)[None, :] if visible else seen[None, :] <= index[:, None]
        real = seen[None, :] >= cache.padding[:, None]                  # [batch, seen]
        alone = seen[None, :] == index[:, None]                         # padding sees itself, so that no row is empty
        return ((past[None] & real[:, None, :]) | alone[None])[:, None]

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the first channel: [..., d_model] to [..., vocab]."""
        return states @ self.table.T
