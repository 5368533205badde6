"""The image tokenizer: a square picture to a small grid of integers and back."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.errors import InputError
from omni.tokenizers import weights
from omni.tokenizers.audio.quantizer import FSQ
from omni.tokenizers.image.tags import TAGS_A_PICTURE, Tagger

KIND = "omni-image"


class PictureTokenizer(Protocol):
    """What the rest of the system knows of an image tokenizer; the pretrained adapter has this face too.

    tags: how many of the `codebook_size` codes, the last ones, name what is shown; picture_tags: how many of the
    `tokens` of a picture, the first ones, are such names
    """

    picture_size: int
    tokens: int
    codebook_size: int
    tags: int
    picture_tags: int

    @property
    def fingerprint(self) -> str:
        """Checksum of all that codes depend on: equal tokenizers speak the same codes."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels, float [batch, 3, picture_size, picture_size] in 0..1, to codes, long [batch, tokens]."""

    def decode(self, codes: Tensor) -> Tensor:
        """Codes, long [batch, tokens], to pixels as `encode` takes them."""

    def save(self, folder: Path | str) -> None:
        """Write what `load` reads again."""


@dataclass(frozen=True)
class ImageConfig:
    """Shape of an image tokenizer. Raises InputError for a shape that cannot work.

    patch: pixels a side that one token stands for; levels: FSQ levels, their product is the size of the codebook;
    width, fine_width: channels on the token grid and on the grid twice as fine;
    encoder_layers, decoder_layers, fine_layers: blocks on the token grid on the way in and out, and on the fine grid;
    tags: names of what a picture may show, with which it then begins (tokenizers.image.tags).
    """

    picture_size: int = 64
    patch: int = 8
    levels: tuple[int, ...] = (8, 5, 5, 5)
    width: int = 96
    fine_width: int = 48
    encoder_layers: int = 2
    decoder_layers: int = 3
    fine_layers: int = 1
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.patch < 2 or self.patch % 2 or self.picture_size < 1 or self.picture_size % self.patch:
            raise InputError(
                f"image config: picture_size={self.picture_size} needs an even patch that divides it, "
                f"got {self.patch}; use 64 and 8"
            )
        if not self.levels or min(self.levels) < 2:
            raise InputError(f"image config: levels must be 2 or more each, got {self.levels}; use (8, 5, 5, 5)")
        if self.tags and len(set(self.tags)) < max(TAGS_A_PICTURE, len(self.tags)):
            raise InputError(f"image config: tags must be {TAGS_A_PICTURE} or more different names")

    @property
    def side(self) -> int:
        """Tokens along one side of a picture."""
        return self.picture_size // self.patch

    def saved(self) -> dict[str, Any]:
        """What config.json holds; without `tags` where there are none, as before there could be any."""
        values = asdict(self)
        return values if self.tags else {name: value for name, value in values.items() if name != "tags"}

    @classmethod
    def preset(cls, name: str) -> "ImageConfig":
        """`quick` learns in a minute on one core, `tiny` in twenty, `base` in an hour.

        Raises InputError for another name.
        """
        presets = {
            "quick": cls(),
            "tiny": cls(width=160, fine_width=64, encoder_layers=3, decoder_layers=4),
            "base": cls(width=256, fine_width=96, encoder_layers=3, decoder_layers=6, fine_layers=2),
        }
        if name not in presets:
            raise InputError(f"image preset {name!r}: no such preset; use {', '.join(presets)}")
        return presets[name]

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> "ImageConfig":
        """The config that `asdict` made `values` of. Raises InputError, naming `source`, when it is another thing."""
        try:
            return cls(**{**values, "levels": tuple(values["levels"]), "tags": tuple(values.get("tags", ()))})
        except (TypeError, KeyError):
            raise InputError(f"{source}: not the config of an omni image tokenizer; name a folder it saved") from None


class Block(nn.Module):
    """ConvNeXt block on [batch, height, width, channels] (Liu et al. 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 2 * channels)
        self.down = nn.Linear(2 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.3))         # keeps a deep stack near the identity at first

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)         # channels last in memory throughout: no copy
        return x + self.scale * self.down(F.relu(self.up(self.norm(y))))


class ImageTokenizer(nn.Module):
    """Convolutional autoencoder around finite scalar quantization (Mentzer et al. 2023).

    Patches are folded into channels before the first layer, so all work happens on the grid of the tokens and on the
    one twice as fine, where a convolution costs 16 to 64 times less than at full resolution.
    """

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        c = self.config = config
        self.quantizer = FSQ(c.levels)
        self.tagger = Tagger(c.tags) if c.tags else None
        self.tags, self.picture_tags = len(c.tags), TAGS_A_PICTURE if c.tags else 0
        self.picture_size, self.tokens = c.picture_size, self.picture_tags + c.side**2
        self.codebook_size = self.quantizer.codebook_size + self.tags
        pixels = 3 * (c.patch // 2) ** 2                                # numbers in one cell of the fine grid
        self.see = nn.Linear(pixels, c.fine_width)
        self.encoder_fine = _stack(c.fine_layers, c.fine_width)
        self.merge = nn.Linear(4 * c.fine_width, c.width)
        self.encoder = _stack(c.encoder_layers, c.width)
        self.squeeze = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, len(c.levels)))
        self.unsqueeze = nn.Linear(len(c.levels), c.width)
        self.decoder = _stack(c.decoder_layers, c.width)
        self.split = nn.Linear(c.width, 4 * c.fine_width)
        self.decoder_fine = _stack(c.fine_layers, c.fine_width)
        self.paint = nn.Conv2d(c.fine_width, pixels, 3, padding=1)      # sees its neighbours: no seams between cells

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels: [batch, 3, size, size] in 0..1. Returns them made again, not clamped, and codes [batch, side²]."""
        vectors, codes = self._encode(pixels)
        return self._decode(vectors), codes.flatten(1)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """pixels: float [batch, 3, size, size] in 0..1. Returns codes, long [batch, tokens]: tags, then row by row.

        Raises ValueError for another shape and for NaN.
        """
        shape = (3, self.picture_size, self.picture_size)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != shape:
            raise ValueError(f"pixels must be [batch, {', '.join(map(str, shape))}], got {list(pixels.shape)}")
        if not torch.isfinite(pixels).all():
            raise ValueError("the picture holds NaN or infinite pixels")
        pixels = pixels.clamp(0, 1)
        painted = self._encode(pixels)[1].flatten(1)                    # [batch, side * side]
        if self.tagger is None:
            return painted
        named = self.tagger.eval().codes(pixels)                        # [batch, picture_tags]
        return torch.cat((self.quantizer.codebook_size + named, painted), 1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """codes: long [batch, tokens]. Returns pixels, float [batch, 3, size, size] in 0..1.

        Raises ValueError for codes of another shape or outside the codebook.
        """
        if codes.ndim != 2 or codes.shape[1] != self.tokens:
            raise ValueError(f"codes must be [batch, {self.tokens}], got {list(codes.shape)}")
        tags, painted = codes.split((self.picture_tags, self.config.side**2), dim=1)
        if bool(((tags < self.quantizer.codebook_size) | (tags >= self.codebook_size)).any()):
            raise ValueError(f"the first {self.picture_tags} codes must be tags, got {tags[0].tolist()}")
        grid = painted.unflatten(1, (self.config.side, self.config.side))
        return self._decode(self.quantizer.vectors(grid)).clamp(0, 1)

    def names(self, codes: Tensor) -> list[str]:
        """What the tags of a picture's codes, long [tokens], say; nothing where the tokenizer has none."""
        tags = codes[: self.picture_tags] - self.quantizer.codebook_size
        return [self.config.tags[tag] for tag in tags.tolist()]

    def _encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        cell = self.config.patch // 2                                   # pixels along a cell of the fine grid
        x = (2 * pixels - 1).unflatten(3, (-1, cell)).unflatten(2, (-1, cell))  # [batch, 3, 2 side, cell, 2 side, cell]
        x = self.see(x.permute(0, 2, 4, 1, 3, 5).flatten(3))            # [batch, 2 side, 2 side, fine_width]
        x = self.encoder_fine(x)
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3)  # [batch, side, side, 2, 2, fine_width]
        x = self.encoder(self.merge(x.flatten(3)))                      # [batch, side, side, width]
        vectors, codes = self.quantizer(self.squeeze(x))
        return vectors, codes

    def _decode(self, vectors: Tensor) -> Tensor:
        x = self.decoder(self.unsqueeze(vectors))                       # [batch, side, side, width]
        x = self.split(x).unflatten(3, (2, 2, -1)).transpose(2, 3)      # [batch, side, 2, side, 2, fine_width]
        x = self.decoder_fine(x.flatten(3, 4).flatten(1, 2))            # [batch, 2 side, 2 side, fine_width]
        x = self.paint(x.permute(0, 3, 1, 2))                           # [batch, 3 * cell * cell, 2 side, 2 side]
        cell = self.config.patch // 2
        x = x.unflatten(1, (3, cell, cell)).permute(0, 1, 4, 2, 5, 3)   # [batch, 3, 2 side, cell, 2 side, cell]
        return (x.flatten(4).flatten(2, 3) + 1) / 2

    @property
    def fingerprint(self) -> str:
        """Checksum of config and weights, 64 hex digits: equal tokenizers speak the same codes."""
        return weights.fingerprint(self.config.saved(), self)

    def save(self, folder: Path | str) -> None:
        """Write `model.safetensors`, then `config.json` with the fingerprint of both."""
        weights.save_weights(folder, KIND, self.config.saved(), self)

    @classmethod
    def load(cls, folder: Path | str) -> "ImageTokenizer":
        """Read a saved tokenizer. Raises InputError when it is missing, damaged or of another kind."""
        folder = Path(folder)
        values, expected = weights.read_config(folder, KIND, "image tokenizer", "image")
        tokenizer = cls(ImageConfig.from_dict(values, str(folder / weights.CONFIG)))
        weights.load_weights(folder, tokenizer, tokenizer.config.saved(), expected, "tokenizer")
        return tokenizer.eval()


def _stack(depth: int, channels: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels) for _ in range(depth)))
