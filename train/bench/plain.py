"""A second peer of `omni bench train`: the loop that one writes by hand, with a model in the manner of litgpt.

Fused projections and causal SDPA over whole packed rows (documents see those before them in the row), logits of every
step, one AdamW; eager, and without anything of DeepSpeed or of ours.
"""

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omni.model.config import ModelConfig
from omni.train.bench.peer import IGNORED, Example, stack


class _Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_model, kv = config.d_model, config.n_kv_heads * config.head_dim
        self.heads, self.groups, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.norms = nn.ModuleList(nn.RMSNorm(d_model, config.norm_eps) for _ in range(2))
        self.qkv = nn.Linear(d_model, d_model + 2 * kv, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.gate, self.up = (nn.Linear(d_model, config.d_ff, bias=False) for _ in range(2))
        self.down = nn.Linear(config.d_ff, d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = self.qkv(self.norms[0](x)).unflatten(2, (-1, self.head_dim)).transpose(1, 2)  # [b, heads, t, head_dim]
        q, k, v = heads.split([self.heads, self.groups, self.groups], dim=1)
        q, k = (one * cos + _turned(one) * sin for one in (q, k))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.groups)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        y = self.norms[1](x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def _turned(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class _Model(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """[batch, steps] to logits [batch, steps, vocab]."""
        half = torch.arange(self.config.head_dim // 2) / (self.config.head_dim // 2)
        angles = torch.arange(ids.shape[1])[:, None] * self.config.rope_theta**-half  # [steps, head_dim / 2]
        cos, sin = (torch.cat((wave, wave), dim=-1) for wave in (angles.cos(), angles.sin()))
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x) @ self.embedding.weight.T


class PlainLoop:
    """A model, its optimizer and the loop around them, which goes on where the last turn stopped."""

    def __init__(self, name: str, config: ModelConfig, examples: list[Example], rows: int) -> None:
        self.name, self.examples, self.rows, self.at = name, examples, rows, 0
        self.model = _Model(config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)

    def turn(self, steps: int) -> list[tuple[float, int]]:
        """Seconds and useful tokens of each step."""
        taken = []
        for _ in range(steps):
            chosen: list[Any] = [self.examples[(self.at + i) % len(self.examples)] for i in range(self.rows)]
            self.at += self.rows
            began = time.perf_counter()
            batch = stack(chosen)
            logits = self.model(batch["input_ids"])[:, :-1]
            loss = F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            taken.append((time.perf_counter() - began, sum(int(one["useful"]) for one in chosen)))
        return taken
