"""How much of a picture survives its tokens: signal-to-noise, structure, recognisability, use of the codebook."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from omni.errors import InputError
from omni.figures import Report
from omni.tokenizers.image.autoencoder import PictureTokenizer
from omni.tokenizers.image.pixels import to_pixels


def psnr(made: Tensor, pixels: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, [batch], of pictures [batch, 3, height, width] in 0..1; at most 100."""
    error = (made - pixels).square().flatten(1).mean(1)                 # [batch]
    return -10 * error.clamp_min(1e-10).log10()


def ssim(made: Tensor, pixels: Tensor) -> Tensor:
    """Structural similarity, [batch] in -1..1, of pictures [batch, 3, height, width] in 0..1 (Wang et al. 2004).

    A Gaussian window of 11 pixels (deviation 1.5), each channel by itself, places where the window fits only.
    """
    steps = torch.arange(11, dtype=pixels.dtype, device=pixels.device) - 5
    bell = (-steps.square() / (2 * 1.5**2)).exp()
    window = torch.outer(bell, bell) / bell.sum() ** 2                  # [11, 11]
    kernel = window.expand(3, 1, 11, 11)

    def local(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, groups=3)                            # [batch, 3, height - 10, width - 10]

    mean_made, mean = local(made), local(pixels)
    spread_made = local(made * made) - mean_made**2
    spread = local(pixels * pixels) - mean**2
    shared = local(made * pixels) - mean_made * mean
    light, detail = 0.01**2, 0.03**2                                    # the paper's constants for a range of 1
    similarity = (2 * mean_made * mean + light) * (2 * shared + detail)
    similarity = similarity / ((mean_made**2 + mean**2 + light) * (spread_made + spread + detail))
    return similarity.flatten(1).mean(1)


def neutral_features(pixels: Tensor) -> Tensor:
    """Features that nobody trained, so that no tokenizer is favoured: [batch, 3, s, s] to unit vectors [batch, n].

    Colours averaged over an 8 x 8 grid, and histograms of edge directions in 8 bins over the same grid (Dalal and
    Triggs 2005); both parts are centred and weigh the same.
    """
    colours = F.adaptive_avg_pool2d(pixels, 8).flatten(1)               # [batch, 3 * 64]
    grey = pixels.mean(1, keepdim=True)
    down = F.pad(grey, (0, 0, 1, 1), mode="replicate").diff(dim=2)[:, :, 1:]
    right = F.pad(grey, (1, 1, 0, 0), mode="replicate").diff(dim=3)[..., 1:]
    strength = (down.square() + right.square()).sqrt()                  # [batch, 1, s, s]
    bins = ((torch.atan2(down, right) / torch.pi + 1) * 4).long() % 8   # [batch, 1, s, s]
    spread = strength * (bins == torch.arange(8, device=pixels.device).view(1, 8, 1, 1))  # [batch, 8, s, s]
    edges = F.adaptive_avg_pool2d(spread, 8).sqrt().flatten(1)          # [batch, 8 * 64]
    parts = [F.normalize(part - part.mean(1, keepdim=True), dim=1) for part in (colours, edges)]
    return torch.cat(parts, dim=1) / 2**0.5


def retrieval(made: Tensor, pixels: Tensor, distractors: Tensor | None = None) -> Tensor:
    """For each reconstruction, whether its nearest picture by `neutral_features` is its own original: bool [batch].

    made, pixels: [batch, 3, s, s]; distractors: other pictures it might be taken for, [others, 3, s, s].
    """
    gallery = pixels if distractors is None else torch.cat((pixels, distractors))
    features = torch.cat([neutral_features(part) for part in gallery.split(256)])
    nearest = (neutral_features(made) @ features.T).argmax(1)           # [batch]
    return nearest == torch.arange(len(made), device=made.device)


def reconstruct(tokenizer: PictureTokenizer, pictures: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [n, 3, s, s], their reconstruction, alike, and codes [n, tokens] of pictures uint8 [n, s, s, 3]."""
    pixels = to_pixels(pictures)
    codes = torch.cat([tokenizer.encode(part) for part in pixels.split(64)])
    made = torch.cat([tokenizer.decode(part) for part in codes.split(64)])
    return pixels, made, codes


def contact_sheet(tokenizer: PictureTokenizer, pictures: NDArray[np.uint8], columns: int = 8) -> Tensor:
    """Rows of originals, each above its reconstruction: pixels [3, height, width] of pictures uint8 [n, s, s, 3]."""
    pixels, made, _ = reconstruct(tokenizer, pictures)
    rows = []
    for first in range(0, len(pixels), columns):
        for part in (pixels[first : first + columns], made[first : first + columns]):
            filler = part.new_ones(columns - len(part), *part.shape[1:])
            rows.append(torch.cat((part, filler)).permute(1, 2, 0, 3).flatten(2))  # [3, s, columns * s]
    return torch.cat(rows, dim=1)


def evaluate(
    tokenizer: PictureTokenizer, pictures: NDArray[np.uint8], distractors: NDArray[np.uint8] | None = None
) -> Report:
    """Figures of a tokenizer on held-out pictures, uint8 [n, s, s, 3]; identical pictures count once.

    psnr, ssim: means with their 95 % interval; retrieval_top1: share of reconstructions whose nearest picture, among
    all held-out ones and the distractors, is their own; code_usage: share of the codebook that occurs, tags apart;
    code_entropy: bits a token carries by its frequency. Raises InputError without pictures.
    """
    if not len(pictures):
        raise InputError("image evaluation: there are no held-out pictures; prepare more data")
    pictures = np.unique(pictures, axis=0)
    pixels, made, codes = reconstruct(tokenizer, pictures)
    others = None if distractors is None or not len(distractors) else to_pixels(distractors)
    report = Report("tokenizer eval image")
    for name, values, unit in (("psnr", psnr(made, pixels), "dB"), ("ssim", ssim(made, pixels), "-1..1")):
        add_mean(report, name, values, unit)
    own = retrieval(made, pixels, others)
    low, high = _wilson(int(own.sum()), len(own))
    report.add("retrieval_top1", float(own.float().mean()), "share", low=low, high=high, n=len(own))
    report.add("retrieval_chance", 1 / (len(pixels) + (0 if others is None else len(others))), "share")
    codes = codes[:, tokenizer.picture_tags :]
    counts = torch.bincount(codes.flatten(), minlength=tokenizer.codebook_size - tokenizer.tags).double()
    share = counts[counts > 0] / counts.sum()
    report.add("code_usage", float((counts > 0).double().mean()), "share", n=codes.numel())
    report.add("code_entropy", float(-(share * share.log2()).sum()), "bits/token", n=codes.numel())
    report.add("tokens_per_picture", tokenizer.tokens, "tokens")
    return report


def add_mean(report: Report, name: str, values: Tensor, unit: str) -> None:
    """The mean of values [n] with its 95 % interval."""
    mean, n = float(values.mean()), len(values)
    error = 1.96 * float(values.std()) / n**0.5 if n > 1 else 0.0
    report.add(name, mean, unit, low=mean - error, high=mean + error, n=n)


def _wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): it stays within 0..1 and does not vanish at either end."""
    z = 1.96
    share, widening = hits / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / widening
    half = z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5 / widening
    return max(0.0, middle - half), min(1.0, middle + half)        # rounding may step over
