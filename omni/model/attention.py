"""Rotary positions and grouped-query attention with QK-norm."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from omni.model.binary import linear
from omni.model.config import ModelConfig, RopeScaling
from omni.model.fused import RMSNorm, rotate


class Rope(nn.Module):
    """Rotary position embedding (Su et al. 2021), the halves convention of Llama."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_steps: int, theta: float, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        self.head_dim, self.max_steps, self.theta, self.scaling = head_dim, max_steps, theta, scaling
        self.compute()

    def compute(self) -> None:
        """The tables, on torch's default device: anew where the model was put together on the meta device."""
        frequency = self.theta ** (-torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim)
        if self.scaling is not None:
            frequency = slowed(frequency, self.scaling)
        angle = torch.arange(self.max_steps, dtype=torch.float64)[:, None] * frequency      # [max_steps, head_dim / 2]
        self.register_buffer("cos", torch.cat((angle.cos(), angle.cos()), -1).float(), persistent=False)
        self.register_buffer("sin", torch.cat((-angle.sin(), angle.sin()), -1).float(), persistent=False)

    def forward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Factors for positions [batch, steps]: two tensors [batch, 1, steps, head_dim]."""
        return self.cos[position][:, None], self.sin[position][:, None]


def slowed(frequency: Tensor, scaling: RopeScaling) -> Tensor:
    """Rotations a step, in radians, as Llama 3.1 changes them for long contexts (Grattafiori et al. 2024)."""
    turns = scaling.steps * frequency / (2 * math.pi)                   # over the steps of the first training
    kept = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
    return frequency * (kept + (1 - kept) / scaling.factor)


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023); queries and keys normalised a head (Henry et al. 2020).

    With inner_norms values are, too, and so is what is projected, around which the mixed values go as they are.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.sizes = [size * config.head_dim for size in (config.n_heads, config.n_kv_heads, config.n_kv_heads)]
        self.qkv = linear(config, config.d_model, sum(self.sizes), bias=config.qkv_bias)
        self.out = linear(config, self.sizes[0], config.d_model)
        self.inner_norms = config.inner_norms
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()

    def project(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """[batch, steps, d_model] to queries, keys, values [batch, heads, steps, head_dim], rotated."""
        q, k, v = self.qkv(x).split(self.sizes, dim=-1)
        q = rearrange(q, "batch steps (heads dim) -> batch heads steps dim", dim=self.head_dim)
        k = rearrange(k, "batch steps (heads dim) -> batch heads steps dim", dim=self.head_dim)
        v = rearrange(v, "batch steps (heads dim) -> batch heads steps dim", dim=self.head_dim)
        return rotate(self.q_norm(q), rope), rotate(self.k_norm(k), rope), self._even(v)

    def packed(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Steps out of their rows, [steps, d_model], to queries, keys, values [steps, heads, head_dim], rotated."""
        q, k, v = (part.unflatten(1, (-1, self.head_dim)) for part in self.qkv(x).split(self.sizes, dim=-1))
        return rotate(self.q_norm(q), rope), rotate(self.k_norm(k), rope), self._even(v)

    def projected(self, mixed: Tensor) -> Tensor:
        """Mixed values of all heads [..., n_heads * head_dim] to [..., d_model]."""
        x = self._even(self.out(mixed))
        return x + mixed if self.inner_norms else x

    def _even(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) if self.inner_norms else x

    def mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
        """Weighted values, projected: [batch, steps, d_model]. `mask` is [batch, 1, steps, seen] bool or None."""
        groups, shape = self.n_heads // self.n_kv_heads, q.shape
        if groups > 1 and shape[2] == 1:                                # of one step, the heads of a group can be steps
            q = rearrange(q, "batch (kv groups) 1 dim -> batch kv groups dim", groups=groups)  # of what they all see
        elif groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal).reshape(shape)
        return self.projected(rearrange(x, "batch heads steps dim -> batch steps (heads dim)"))

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """[batch, steps, d_model] to the same; without a mask each step sees its past."""
        q, k, v = self.project(x, rope)
        return self.mix(q, k, v, mask, causal=mask is None)

    def extend(
        self, x: Tensor, rope: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor], at: int, mask: Tensor | None
    ) -> Tensor:
        """Attend from new steps to the `at` cached ones and to themselves; their keys and values are cached.

        x: [batch, steps, d_model]; past: this layer's buffers [batch, n_kv_heads, max_steps, head_dim];
        mask: [batch or 1, 1, steps, at + steps] bool, or None where every new step sees everything (a single step).
        """
        q, k, v = self.project(x, rope)
        keys, values = past
        stop = at + x.shape[1]
        keys[:, :, at:stop] = k
        values[:, :, at:stop] = v
        return self.mix(q, keys[:, :, :stop], values[:, :, :stop], mask)

    def join(
        self, x: Tensor, rope: tuple[Tensor, Tensor], past: Sequence[Tensor], place: tuple[Tensor, Tensor], seen: Tensor
    ) -> Tensor:
        """The same for one step of each of several pasts in one buffer, whatever their lengths, by fixed shapes alone.

        x: [rows, 1, d_model]; past: this layer's buffers [slots, n_kv_heads, max_steps, head_dim]; place: of each row
        its slot and the step that it becomes there, [rows] each; seen: [rows, 1, 1, steps] bool, of so many steps.
        """
        q, k, v = self.project(x, rope)                                 # [rows, heads, 1, head_dim]
        slot, at = place
        for buffer, new in zip(past, (k, v), strict=True):
            buffer[slot, :, at] = new[:, :, 0]
        keys, values = (buffer[:, :, : seen.shape[-1]][slot] for buffer in past)  # [rows, n_kv_heads, steps, head_dim]
        return self.mix(q, keys, values, seen)
