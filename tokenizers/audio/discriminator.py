"""The critic of the second training phase: does this spectrum come from a recording or from the codec?"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZES = (1024, 512, 256)


class StftCritic(nn.Module):
    """Small 2-D convolutions over a complex STFT of one window length (EnCodec, Défossez et al. 2022)."""

    window: Tensor

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.hop = size // 4
        window = torch.hann_window(size)
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, channels, (3, 7), stride=(1, 3), padding=(1, 3)) for before in (2, channels, channels)
        )
        self.judge = nn.Conv2d(channels, 1, (3, 3), padding=1)

    def forward(self, wave: Tensor) -> tuple[Tensor, list[Tensor]]:
        """wave: [batch, samples]. Returns a score per region, [batch, 1, frames, bins / 27], and the features below."""
        frames = wave.unfold(1, len(self.window), self.hop) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames))           # [batch, frames, bins, 2]
        loud = spectrum.square().sum(-1, keepdim=True).add(1e-6).pow(-0.35)
        x = (spectrum * loud).permute(0, 3, 1, 2)                       # [batch, 2, frames, bins], magnitude ** 0.3
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.judge(x), features


class Critics(nn.Module):
    """One critic per window length."""

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        self.critics = nn.ModuleList(StftCritic(size, channels) for size in SIZES)

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss that teaches the critics; both [batch, samples], no gradient to `fake`."""
        total = real.new_zeros(())
        for critic in self.critics:
            total = total + F.relu(1 - critic(real)[0]).mean() + F.relu(1 + critic(fake.detach())[0]).mean()
        return total / len(self.critics)

    def codec_loss(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """What the codec minimises: (adversarial, feature matching relative to the features' size)."""
        adversarial, matching = real.new_zeros(()), real.new_zeros(())
        for critic in self.critics:
            score, features = critic(fake)
            with torch.no_grad():
                wanted = critic(real)[1]
            adversarial = adversarial + F.relu(1 - score).mean()
            for got, want in zip(features, wanted, strict=True):
                matching = matching + (got - want).abs().mean() / want.abs().mean().clamp_min(1e-3)
        return adversarial / len(self.critics), matching / (3 * len(self.critics))
