import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from omni.errors import InputError
from omni.tokenizers.image.metrics import contact_sheet, evaluate, neutral_features, psnr, retrieval, ssim


def pictures(n: int, size: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Lossless:
    """The oracle: every picture is its own code."""

    tokens, codebook_size, picture_size = 4, 8, 16
    tags = picture_tags = 0

    def __init__(self) -> None:
        self.seen: dict[tuple[int, ...], Tensor] = {}

    def encode(self, pixels: Tensor) -> Tensor:
        codes = torch.tensor([[len(self.seen) + i] * 4 for i in range(len(pixels))])
        self.seen |= {tuple(code.tolist()): picture for code, picture in zip(codes, pixels, strict=True)}
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        return torch.stack([self.seen[tuple(code.tolist())] for code in codes])


def test_psnr_of_a_known_error() -> None:
    pixels = torch.zeros(2, 3, 8, 8)
    made = pixels.clone()
    made[0] += 0.1
    torch.testing.assert_close(psnr(made, pixels), torch.tensor([20.0, 100.0]))


def test_ssim_of_flat_pictures_is_the_closed_form() -> None:
    a, b = 0.3, 0.7
    flat = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert ssim(a * flat, b * flat).item() == pytest.approx(expected, rel=1e-6)


def test_ssim_equals_the_definition_written_with_scipy() -> None:
    x, y = pictures(1, seed=1), pictures(1, seed=2)
    made = (0.6 * x + 0.4 * y)[0].numpy()
    other = x[0].numpy()
    scores = []
    for p, q in zip(made, other, strict=True):
        blur = lambda z: gaussian_filter(z, 1.5, radius=5)[5:-5, 5:-5]  # noqa: E731
        mp, mq = blur(p), blur(q)
        vp, vq, c = blur(p * p) - mp**2, blur(q * q) - mq**2, blur(p * q) - mp * mq
        scores.append(((2 * mp * mq + 1e-4) * (2 * c + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))).mean())
    assert ssim(torch.from_numpy(made)[None], x).item() == pytest.approx(np.mean(scores), rel=1e-9)


def test_ssim_of_itself_is_one_and_of_noise_is_low() -> None:
    x = pictures(3)
    torch.testing.assert_close(ssim(x, x), torch.ones(3, dtype=torch.float64))
    assert ssim(x, pictures(3, seed=9)).max() < 0.2


def test_features_are_unit_vectors_that_see_colour_and_edges() -> None:
    x = pictures(4)
    features = neutral_features(x)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert not torch.allclose(features, neutral_features(x.flip(1)))    # red and blue exchanged
    assert not torch.allclose(features, neutral_features(x.transpose(2, 3)))


def test_retrieval_finds_what_is_near_and_is_fooled_by_a_copy() -> None:
    x = pictures(5)
    noisy = (x + 0.05 * pictures(5, seed=3)).clamp(0, 1)
    assert retrieval(noisy, x).all()
    assert not retrieval(noisy.roll(1, 0), x).any()
    assert retrieval(noisy, x, distractors=pictures(40, seed=5)).all()
    assert not retrieval(noisy, pictures(5, seed=7), distractors=noisy).any()


def test_figures_of_a_lossless_tokenizer() -> None:
    levels = (pictures(5, 16) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    twice = np.concatenate((levels, levels))
    figures = evaluate(Lossless(), twice, distractors=levels[:0]).figures
    assert figures["psnr"].value == pytest.approx(100)
    assert figures["ssim"].value == pytest.approx(1)
    assert figures["retrieval_top1"].value == 1
    assert figures["retrieval_top1"].n == 5
    assert 0.5 < figures["retrieval_top1"].low < figures["retrieval_top1"].high <= 1
    assert figures["retrieval_chance"].value == 1 / 5
    assert figures["code_usage"].value == 5 / 8
    assert figures["code_entropy"].value == pytest.approx(np.log2(5))
    assert figures["tokens_per_picture"].value == 4


def test_without_pictures_the_cause_is_named() -> None:
    with pytest.raises(InputError, match="no held-out pictures"):
        evaluate(Lossless(), np.zeros((0, 16, 16, 3), np.uint8))


def test_contact_sheet_shows_originals_above_reconstructions() -> None:
    levels = (pictures(3, 16) * 255).byte().permute(0, 2, 3, 1).numpy()
    sheet = contact_sheet(Lossless(), levels, columns=2)
    assert sheet.shape == (3, 4 * 16, 2 * 16)
    torch.testing.assert_close(sheet[:, :16], sheet[:, 16:32])
    torch.testing.assert_close(sheet[:, 32:48, :16], torch.from_numpy(levels[2]).permute(2, 0, 1) / 255)
    assert (sheet[:, 32:, 16:] == 1).all()
