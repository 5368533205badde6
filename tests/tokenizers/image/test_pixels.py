import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omni.errors import InputError
from omni.tokenizers.image.pixels import read_picture, write_picture


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(path, 16)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that announces its size and then holds ten bytes of pixels."""
    content = b"\x89PNG\r\n\x1a\n"
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", size), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content)
    return path


def test_written_and_read_a_picture_is_the_same_to_8_bits(tmp_path: Path) -> None:
    pixels = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    write_picture(tmp_path / "a.png", pixels)
    torch.testing.assert_close(read_picture(tmp_path / "a.png", 16), pixels, atol=0.5 / 255 + 1e-6, rtol=0)
    write_picture(tmp_path / "b.png", pixels, scale=3)
    assert Image.open(tmp_path / "b.png").size == (48, 48)


def test_a_wide_picture_is_letterboxed_on_white(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100), "red").save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png", 16)
    assert pixels.shape == (3, 16, 16)
    assert (pixels[:, :4] == 1).all()
    assert (pixels[:, 12:] == 1).all()
    assert (pixels[:, 4:12] == torch.tensor([1.0, 0, 0]).view(3, 1, 1)).all()


def test_transparency_is_laid_on_white_without_dark_fringes(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))                   # transparent black, as drawing programs save it
    image.paste((255, 0, 0, 255), (32, 0, 64, 64))
    image.save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png", 16)
    assert (pixels[:, :, :6] > 0.98).all()
    assert pixels[0].min() > 0.98                                       # red is full on both sides of the edge


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 64), "white")
    image.paste((0, 0, 255), (0, 0, 64, 16))                            # blue on top
    exif = Image.Exif()
    exif[274] = 3                                                       # turned by 180 degrees
    image.save(tmp_path / "a.png", exif=exif)
    pixels = read_picture(tmp_path / "a.png", 16)
    assert pixels[0, 15].max() < 0.1
    assert pixels[0, 0].min() > 0.9


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "RGBA"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    source = Image.new("L", (8, 8), 0)
    (Image.new("I;16", (8, 8), 0) if mode == "I;16" else source.convert(mode)).save(path)
    assert read_picture(path, 16).max() < 0.02


@pytest.mark.parametrize("unit", ["", "px", "mm", "pt", "cm"])
def test_drawings_are_rendered_at_the_size_asked_for(unit: str, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="40{unit}" height="20{unit}">'
        '<rect width="100%" height="100%" fill="#00ff00"/></svg>'
    )
    pixels = read_picture(path, 32)
    assert pixels.shape == (3, 32, 32)
    assert (pixels[:, :7] == 1).all()
    assert (pixels[:, 9:23] == torch.tensor([0, 1.0, 0]).view(3, 1, 1)).all()


def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.png")
    assert "a folder" in refusal(tmp_path)
    for name, content in (("empty.png", b""), ("text.png", b"hello"), ("text.svg", b"hello"), ("b.svgz", b"\x1f\x8b")):
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name)


@pytest.mark.parametrize("shape", [(50_000, 50), (50, 50_000), (50_000, 50_000), (15_000, 15_000)])
def test_giants_are_refused_by_the_header_alone(shape: tuple[int, int], tmp_path: Path) -> None:
    message = refusal(png_header(tmp_path / "giant.png", *shape))
    assert "too large" in message or "too many pixels" in message


def test_a_picture_cut_short_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.fromarray(noise).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert "broken" in refusal(tmp_path / name) or "not a picture" in refusal(tmp_path / name)
