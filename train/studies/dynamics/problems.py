"""Small problems whose curvature can be followed step by step: real digits, and a small omni model on made-up text."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.model.config import ModelConfig
from omni.model.transformer import Batch, OmniTransformer

EXAMPLES = 512
OMNI = ModelConfig(d_model=16, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=32, vocab_size=32)
OMNI_ROWS, OMNI_STEPS = 16, 16


@dataclass(frozen=True)
class Problem:
    """loss: of the examples with some numbers, a mean; count: how many examples there are"""

    model: nn.Module
    loss: Callable[[Tensor], Tensor]
    count: int

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def whole(self) -> Tensor:
        return self.loss(torch.arange(self.count))


def problem(name: str, seed: int) -> Problem:
    """A problem by name, its weights drawn with a seed: mlp, cnn (mean squared error on digits), cross-entropy (of the
    mlp) or omni (tokens)."""
    torch.manual_seed(seed)
    if name == "omni":
        return _omni(seed)
    pixels, wanted = digits(EXAMPLES)
    model = cnn() if name == "cnn" else mlp()
    if name == "cross-entropy":
        return Problem(model, lambda index: F.cross_entropy(model(pixels[index]), wanted[index]), EXAMPLES)
    return Problem(model, lambda index: F.mse_loss(model(pixels[index]), wanted[index]), EXAMPLES)


def digits(count: int) -> tuple[Tensor, Tensor]:
    """The first handwritten digits of scikit-learn (Alpaydin and Kaynak 1998): pixels [count, 64] of mean 0 and
    deviation 1, and one-hot classes [count, 10]."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images[:count]).float()
    pixels = (pixels - pixels.mean()) / pixels.std()
    return pixels, F.one_hot(torch.from_numpy(classes[:count]).long(), 10).float()


def mlp() -> nn.Module:
    """6,570 parameters; tanh, since curvature wants a smooth loss."""
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def cnn() -> nn.Module:
    """Some 3,700 parameters on 8 x 8 pixels."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10),
    )  # fmt: skip


def _omni(seed: int) -> Problem:
    """Rows of random tokens, to be learnt by heart: the loss of training, over tokens."""
    ids = torch.randint(1, OMNI.vocab_size, (OMNI_ROWS, OMNI_STEPS, 1), generator=torch.Generator().manual_seed(seed))
    ones = torch.ones(OMNI_ROWS, OMNI_STEPS, dtype=torch.long)
    model = OmniTransformer(OMNI)

    def loss(index: Tensor) -> Tensor:
        rows = ones[index]
        losses = model(Batch(ids[index], rows.bool(), rows, torch.zeros_like(rows).bool()))
        return losses.total / (len(index) * (OMNI_STEPS - 1))

    return Problem(model, loss, OMNI_ROWS)
