"""Predicting the codebooks beyond the first where one step of the stream is a whole audio frame.

Both heads see the backbone's hidden state of a step and predict channels 1 .. channels-1 of the next one; channel 0 is
predicted by the backbone itself. Codes are embedded and scored with the backbone's own table [vocab, d_model].
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor, nn

from omni.model.attention import Rope
from omni.model.config import ModelConfig
from omni.model.fused import RMSNorm
from omni.model.loss import linear_cross_entropy

Pick = Callable[[Tensor], Tensor]                                       # scores [.., codebook_size] to codes [..]


class ChannelHead(nn.Module):
    """What the `delay` and `depth` heads share: the loss over the channels and the order of sampling."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def states(self, hidden: Tensor, ids: Tensor, table: Tensor) -> Tensor:
        """States that score channels 1 ..: [rows, channels - 1, d_model].

        hidden: [rows, d_model]; ids: [rows, channels] of the predicted step, of which channel k may use only 0 .. k-1.
        """
        raise NotImplementedError

    def loss(self, hidden: Tensor, ids: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Summed loss of the audio ids in channels 1 .. of `ids`, and each row's own: a scalar and [rows]."""
        states = self.states(hidden, ids, table)
        total, losses = hidden.new_zeros((), dtype=torch.float32), hidden.new_zeros(len(ids), dtype=torch.float32)
        for channel in range(1, self.config.channels):
            codes = ids[:, channel] - self._start(channel)
            audio = (codes >= 0) & (codes < self.config.codebook_size)  # `<wait>` and `<pad>` are not predicted
            part, each = linear_cross_entropy(
                states[audio, channel - 1], self._codebook(table, channel), codes[audio], self.config.z_loss
            )
            total, losses = total + part, losses.to(each.dtype)         # float64 within `twice_differentiable`
            losses[audio] += each
        return total, losses

    def logits(self, hidden: Tensor, ids: Tensor, table: Tensor) -> Tensor:
        """Scores of the codes of channel k, given the ids [rows, k] chosen before it: [rows, codebook_size]."""
        channel = ids.shape[1]
        unknown = ids.new_zeros(len(ids), self.config.channels - channel)
        states = self.states(hidden, torch.cat((ids, unknown), dim=1), table)
        return states[:, channel - 1] @ self._codebook(table, channel).T

    def draw(self, hidden: Tensor, first: Tensor, table: Tensor, pick: Pick) -> Tensor:
        """Ids of channels 1 .. of a step, drawn from their scores: [rows, channels - 1].

        hidden: [rows, d_model]; first: the ids [rows] of channel 0
        """
        ids = first[:, None]                                            # [rows, channels drawn so far]
        for channel in range(1, self.config.channels):
            codes = pick(self.logits(hidden, ids, table))               # [rows]
            ids = torch.cat((ids, self._start(channel) + codes[:, None]), dim=1)
        return ids[:, 1:]

    def _start(self, channel: int) -> int:
        return self.config.audio_start + channel * self.config.codebook_size

    def _codebook(self, table: Tensor, channel: int) -> Tensor:
        """Rows of the table that codebook `channel` owns: [codebook_size, d_model]."""
        return table[self._start(channel) :][: self.config.codebook_size]


class DelayHead(ChannelHead):
    """A linear map a codebook (MusicGen, Copet et al. 2023)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.maps = nn.Linear(config.d_model, (config.channels - 1) * config.d_model, bias=False)

    def states(self, hidden: Tensor, ids: Tensor, table: Tensor) -> Tensor:
        return rearrange(self.maps(hidden), "rows (channels d) -> rows channels d", channels=self.config.channels - 1)

    def draw(self, hidden: Tensor, first: Tensor, table: Tensor, pick: Pick) -> Tensor:
        """All at once, for no codebook depends on another of the step."""
        states, channels = self.states(hidden, first[:, None], table), range(1, self.config.channels)
        scores = [states[:, channel - 1] @ self._codebook(table, channel).T for channel in channels]
        starts = torch.arange(len(channels), device=first.device) * self.config.codebook_size + self._start(1)
        return pick(torch.stack(scores, dim=1)) + starts                # [rows, channels - 1]


class DepthHead(ChannelHead):
    """A small Transformer over the codebooks of one frame (RQ-Transformer, Lee et al. 2022; Moshi, 2024)."""

    def __init__(self, config: ModelConfig) -> None:
        from omni.model.transformer import Block  # the same block, over codebooks instead of time

        super().__init__(config)
        block = replace(config, n_kv_heads=config.n_heads)
        self.blocks = nn.ModuleList(Block(block) for _ in range(config.depth_layers))
        self.rope = Rope(config.head_dim, config.channels, config.rope_theta)
        self.channel = nn.Parameter(torch.zeros(config.channels, config.d_model))
        self.norm = RMSNorm(config.d_model, config.norm_eps)

    def states(self, hidden: Tensor, ids: Tensor, table: Tensor) -> Tensor:
        before = table[ids[:, :-1]]                                     # [rows, channels - 1, d_model], channels 0 ..
        x = before + hidden[:, None] + self.channel[1:]
        rope = self.rope(torch.arange(x.shape[1], device=x.device)[None])
        for block in self.blocks:
            x = block(x, rope, None)
        return self.norm(x)


def channel_head(config: ModelConfig) -> ChannelHead | None:
    """The head that the config's layout asks for; none for one channel."""
    if config.channels == 1:
        return None
    return DelayHead(config) if config.layout == "delay" else DepthHead(config)
