"""A fleet's model: small Transformers of one shape, whose weights lie in one tensor each, [members, ...].

One batched product then does what as many small ones would, which at these sizes is mostly waiting for Python.
Pre-norm, learned positions, ReLU, tied embeddings (Vaswani et al. 2017; Zhang et al. 2022 for the masks; Bansal et al.
2022 for the decoder of LSTM layers).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from omni.model.binary import binarized
from omni.train.fleet.lstm import lstm
from omni.train.fleet.pairs import BOS, EOS, PAD, Ids

HEAD = 16
Kind = Literal["encdec", "hybrid", "prefix", "causal"]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """kind: an encoder-decoder, one whose decoder is an LSTM (hybrid), or a language model over source and target whose
    source steps see each other (prefix) or only those before them (causal).

    n_layers: of both stacks where there is an encoder, which has n_encoder of them (0: half). source_loss: train to
    predict the source, too (causal only). top_only: target steps see the last layer's source steps, not those of their
    own layer.
    weight_bits, activation_bits: 1 for one-bit linear layers (Zhang et al. 2023); float_attention: attention's weights
    stay floats all the same; norms: around one-bit layers, as theirs have
    """

    vocab: int
    length: int
    d_model: int = 64
    n_layers: int = 4
    d_ff: int = 256
    kind: Kind = "prefix"
    source_loss: bool = False
    top_only: bool = False
    weight_bits: Literal[1, 32] = 32
    activation_bits: Literal[1, 32] = 32
    float_attention: bool = False
    norms: bool = False
    n_encoder: int = 0

    def __post_init__(self) -> None:
        if self.d_model % HEAD or (self.n_layers % 2 and not self.n_encoder):
            raise ValueError(f"d_model={self.d_model} must be a multiple of {HEAD} and n_layers={self.n_layers} even")
        if self.n_encoder and not (self.has_encoder and 0 < self.n_encoder < self.n_layers):
            raise ValueError(f"n_encoder={self.n_encoder}: of {self.n_layers} layers, leaves no encoder or no decoder")
        if self.source_loss and self.kind != "causal":
            raise ValueError("only a causal model can predict its source; where source steps see each other it is told")
        if self.kind == "hybrid" and (self.norms or min(self.weight_bits, self.activation_bits) == 1):
            raise ValueError("a hybrid has neither one-bit layers nor their norms")
        if self.top_only and (self.norms or min(self.weight_bits, self.activation_bits) == 1):
            raise ValueError("a top-only model has neither one-bit layers nor their norms")

    @property
    def parameters(self) -> int:
        """Of one member, embeddings and positions left out."""
        sizes = (math.prod(size) for name, size in sizes_of(self).items() if name not in ("embed", "places"))
        return sum(sizes)

    def parameters_of(self, stack: str) -> int:
        """Of the layers of one stack of a member."""
        return sum(math.prod(size) for name, size in sizes_of(self).items() if name.startswith(f"{stack}."))

    @property
    def stacks(self) -> dict[str, int]:
        """Layers by stack."""
        if not self.has_encoder:
            return {"layers": self.n_layers}
        encoder = self.n_encoder or self.n_layers // 2
        return {"encoder": encoder, "decoder": self.n_layers - encoder}

    @property
    def has_encoder(self) -> bool:
        return self.kind in ("encdec", "hybrid")


def sizes_of(shape: Shape) -> dict[str, tuple[int, int]]:
    """Every weight of one member: [in, out], or [1, size] of a gain."""
    d, ff = shape.d_model, shape.d_ff
    sizes = {"embed": (shape.vocab, d), "places": (2 * shape.length + 2, d), "last": (1, d)}
    for stack, layers in shape.stacks.items():
        for layer in range(layers):
            block = {"norm": (1, d), "qkv": (d, 3 * d), "out": (d, d)}
            block |= {"ff_norm": (1, d), "up": (d, ff), "down": (ff, d)}
            if shape.kind == "hybrid" and stack == "decoder":
                block = {"norm": (1, d), "inward": (d, 4 * d), "onward": (d, 4 * d)}
            if stack == "decoder":
                block |= {"cross_norm": (1, d), "cross_q": (d, d), "cross_kv": (d, 2 * d), "cross_out": (d, d)}
            sizes |= {f"{stack}.{layer}.{name}": size for name, size in block.items()}
        if stack == "encoder":
            sizes["encoder.last"] = (1, d)
    return sizes


def initial(shape: Shape, seeds: list[int]) -> Weights:
    """Weights of a fleet, [members, in, out]. A member's depend on its seed alone."""
    depth = math.sqrt(2 * shape.n_layers)
    members = []
    for seed in seeds:
        generator, member = torch.Generator().manual_seed(seed), {}
        for name, (rows, columns) in sizes_of(shape).items():
            last = name.rpartition(".")[2]
            scale = shape.d_model**-0.5 if last in ("embed", "places") else rows**-0.5
            scale /= depth if last in ("out", "cross_out", "down") else 1
            drawn = torch.randn(rows, columns, generator=generator) * scale
            member[name] = torch.ones(rows, columns) if rows == 1 else drawn
        members.append(member)
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}


def target_losses(shape: Shape, weights: Weights, source: Tensor, target: Tensor) -> Tensor:
    """Losses in nats of the target's tokens, 0 where there is none: [members, rows, length + 1].

    source: [members, rows, length + 1]; target: [members, rows, length + 2].
    """
    states = states_of(shape, weights, source, target[:, :, :-1])
    return _losses(weights, states, target[:, :, 1:])


def training_loss(shape: Shape, weights: Weights, source: Tensor, target: Tensor) -> Tensor:
    """Mean loss of the tokens that are predicted, of each member: [members]."""
    losses, wanted = target_losses(shape, weights, source, target), target[:, :, 1:]
    total, count = losses.sum((1, 2)), (wanted != PAD).sum((1, 2))
    if shape.source_loss:
        states = states_of(shape, weights, source, target[:, :, :0])
        total = total + _losses(weights, states[:, :, :-1], source[:, :, 1:]).sum((1, 2))
        count = count + (source[:, :, 1:] != PAD).sum((1, 2))
    return total / count


@torch.no_grad()
def greedy(shape: Shape, weights: Weights, source: Ids) -> Ids:
    """The likeliest token after the likeliest before it: [rows, length + 1] to [members, rows, length + 1].

    A translation begins with <bos> and is PAD after its <eos>.
    """
    members = len(weights["embed"])
    asked = torch.from_numpy(source).expand(members, -1, -1)
    said = torch.full((*asked.shape[:2], 1), BOS)
    ended = torch.zeros(asked.shape[:2], dtype=torch.bool)
    for _ in range(shape.length):
        states = states_of(shape, weights, asked, said)[:, :, -1]       # [members, rows, d]
        token = torch.bmm(states, weights["embed"].transpose(1, 2)).argmax(dim=-1)
        token = torch.where(ended, PAD, token)
        said = torch.cat((said, token[:, :, None]), dim=2)
        ended |= (token == EOS) | (token == PAD)
    return said.numpy()


def states_of(shape: Shape, weights: Weights, source: Tensor, target: Tensor) -> Tensor:
    """What predicts after each target step, or each source step where there is no target: [members, rows, n, d]."""
    embedded = _embed(weights, source, 0)
    steps = source.shape[2]
    if shape.has_encoder:
        visible = (source != PAD)[:, :, None]                           # [members, rows, 1, keys]
        memory = _stack(shape, weights, "encoder", embedded, visible.expand(-1, -1, steps, -1))
        memory = _norm(memory, weights["encoder.last"])
        reply = _embed(weights, target, steps)
        if shape.kind == "hybrid":
            return _norm(_recurrent(shape, weights, reply, memory, visible), weights["last"])
        causal = torch.ones(target.shape[2], target.shape[2], dtype=torch.bool).tril()
        seen = visible.expand(-1, -1, target.shape[2], -1)
        reply = _stack(shape, weights, "decoder", reply, causal.expand(*target.shape[:2], -1, -1), memory, seen)
        return _norm(reply, weights["last"])
    if shape.top_only and target.shape[2]:
        return _top_only(shape, weights, embedded, source, target)
    both = torch.cat((embedded, _embed(weights, target, steps)), dim=2) if target.shape[2] else embedded
    states = _stack(shape, weights, "layers", both, mask(shape, source, target.shape[2]))
    return _norm(states[:, :, steps:] if target.shape[2] else states, weights["last"])


def mask(shape: Shape, source: Tensor, target_steps: int) -> Tensor:
    """Who sees whom in a language model: [members, rows, steps, steps]; a padded step sees itself alone."""
    steps, total = source.shape[2], source.shape[2] + target_steps
    sees = torch.ones(total, total, dtype=torch.bool).tril()
    if shape.kind == "prefix":
        sees[:, :steps] |= torch.arange(total)[:, None] < steps
    real = F.pad(source != PAD, (0, target_steps), value=True)[:, :, None]  # [members, rows, 1, steps]
    return (sees & real) | torch.eye(total, dtype=torch.bool)


def _top_only(shape: Shape, weights: Weights, embedded: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The source first, through all layers; then the target, whose layers all see the source's last states."""
    steps = source.shape[2]
    top = _stack(shape, weights, "layers", embedded, mask(shape, source, 0))
    states, seen = _embed(weights, target, steps), mask(shape, source, target.shape[2])[:, :, steps:]
    for layer in range(shape.n_layers):
        name = f"layers.{layer}."
        own, past = _norm(states, weights[name + "norm"]), _norm(top, weights[name + "norm"])
        q, k, v = _linear(torch.cat((past, own), dim=2), weights[name + "qkv"]).chunk(3, dim=-1)
        states = states + _linear(_attend(q[:, :, steps:], k, v, seen), weights[name + "out"])
        states = states + _feed_forward(shape, weights, name, states)
    return _norm(states, weights["last"])


def _stack(
    shape: Shape, weights: Weights, stack: str, x: Tensor, visible: Tensor, memory: Tensor | None = None,
    seen: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The layers of one stack: x [members, rows, steps, d], visible [members, rows, steps, steps]."""
    for layer in range(shape.stacks[stack]):
        name = f"{stack}.{layer}."
        q, k, v = _bits(shape, _norm(x, weights[name + "norm"]), weights[name + "qkv"]).chunk(3, dim=-1)
        x = x + _mixed(shape, q, k, v, visible, weights[name + "out"])
        if memory is not None and seen is not None:
            x = x + _crossed(shape, weights, name, x, memory, seen)
        x = x + _feed_forward(shape, weights, name, x)
    return x


def _recurrent(shape: Shape, weights: Weights, x: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
    """A decoder of LSTM layers, each with attention to the source behind it and no feed-forward (Chen et al. 2018)."""
    for layer in range(shape.stacks["decoder"]):
        name = f"decoder.{layer}."
        x = x + lstm(_norm(x, weights[name + "norm"]), weights[name + "inward"], weights[name + "onward"])
        x = x + _crossed(shape, weights, name, x, memory, visible.expand(-1, -1, x.shape[2], -1))
    return x


def _crossed(shape: Shape, weights: Weights, name: str, x: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
    """What target steps take from the source's states."""
    q = _bits(shape, _norm(x, weights[name + "cross_norm"]), weights[name + "cross_q"])
    k, v = _bits(shape, memory, weights[name + "cross_kv"]).chunk(2, dim=-1)
    return _mixed(shape, q, k, v, seen, weights[name + "cross_out"])


def _mixed(shape: Shape, q: Tensor, k: Tensor, v: Tensor, visible: Tensor, out: Tensor) -> Tensor:
    """Attention with its projection; with `norms` normalised queries, keys and values, and a way around the projection.

    (Zhang et al. 2023, section 4.2; the norms have no gains of their own here.)
    """
    if shape.norms:
        q, k, v = (F.layer_norm(x.unflatten(-1, (-1, HEAD)), (HEAD,)).flatten(-2) for x in (q, k, v))
    context = _attend(q, k, v, visible)
    y = _bits(shape, context, out)
    return F.layer_norm(y, y.shape[-1:]) + context if shape.norms else y


def _feed_forward(shape: Shape, weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = _bits(shape, _norm(x, weights[name + "ff_norm"]), weights[name + "up"], False).relu()
    if shape.norms:
        hidden = F.layer_norm(hidden, hidden.shape[-1:])
    y = _bits(shape, hidden, weights[name + "down"], False)
    return F.layer_norm(y, y.shape[-1:]) if shape.norms else y


def _bits(shape: Shape, x: Tensor, weight: Tensor, attention: bool = True) -> Tensor:
    """A linear layer whose weights, by output, and inputs, by step, may be one bit each (omni.model.binary)."""
    if shape.weight_bits == 1 and not (attention and shape.float_attention):
        weight = binarized(weight.transpose(1, 2)).transpose(1, 2)
    return _linear(binarized(x) if shape.activation_bits == 1 else x, weight)


def _attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """Queries [members, rows, n, d], keys and values [members, rows, m, d], visible [members, rows, n, m]."""
    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, HEAD)).transpose(2, 3).flatten(0, 1)  # [members * rows, heads, steps, HEAD]

    mixed = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), visible.flatten(0, 1)[:, None])
    return mixed.transpose(1, 2).flatten(2).unflatten(0, q.shape[:2])


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """[members, rows, steps, in] times [members, in, out], each member its own."""
    return torch.bmm(x.flatten(1, 2), weight).unflatten(1, x.shape[1:3])


def _norm(x: Tensor, gain: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=1e-6) * gain[:, :, None]


def _embed(weights: Weights, ids: Tensor, start: int) -> Tensor:
    """Embeddings and the positions from `start` on: [members, rows, steps, d]."""
    places = weights["places"][:, None, start : start + ids.shape[2]]
    return (_rows(weights, ids) + places) * math.sqrt(places.shape[-1])


def _losses(weights: Weights, states: Tensor, wanted: Tensor) -> Tensor:
    """[members, rows, steps, d] and [members, rows, steps] to losses of the same shape, 0 at PAD.

    A wanted id's logit is computed by itself, so that nothing as large as all logits is picked from or filled.
    """
    flat = states.flatten(1, 2)
    everything = torch.bmm(flat, weights["embed"].transpose(1, 2)).logsumexp(dim=-1)  # [members, rows * steps]
    own = (flat * _rows(weights, wanted).flatten(1, 2)).sum(dim=-1)
    return (everything - own).view(wanted.shape) * (wanted != PAD)


def _rows(weights: Weights, ids: Tensor) -> Tensor:
    """Each member's own embeddings of its ids: [members, ...] to [members, ..., d]."""
    table = weights["embed"]
    members, vocab, _ = table.shape
    return F.embedding(ids + (torch.arange(members) * vocab)[:, None, None], table.flatten(0, 1))
