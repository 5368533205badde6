"""Drawings and bitmaps on white squares."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omni.train.data.parse import picture
from omni.train.data.parse.base import UnusableError

RED = (255, 0, 0)


def svg(path: Path, root: str, body: str) -> Path:
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {root}>{body}</svg>')
    return path


@pytest.mark.parametrize(
    "root",
    [
        'width="40" height="20"',
        'width="40pt" height="20pt"',
        'viewBox="0 0 40 20"',
        'width="100%" height="100%" viewBox="0,0,40,20"',
    ],
)
def test_a_wide_drawing_fills_the_width_and_is_centred(tmp_path: Path, root: str) -> None:
    body = '<rect width="1000" height="1000" fill="red"/>'
    pixels = picture.load_picture(svg(tmp_path / "a.svg", root, body), 32)
    assert pixels.shape == (32, 32, 3)
    assert (pixels[9:23] == RED).all()
    assert (pixels[:7] == 255).all() and (pixels[25:] == 255).all()


def test_an_endlessly_tall_drawing_is_rendered_small(tmp_path: Path) -> None:
    path = svg(tmp_path / "tall.svg", 'width="1" height="60000"', '<rect width="1" height="60000" fill="red"/>')
    try:
        assert picture.load_picture(path, 32).shape == (32, 32, 3)
    except UnusableError as reason:  # thinner than a pixel
        assert "render" in str(reason)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (20, 40), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 20, 20))
    image.save(tmp_path / "a.png")
    pixels = picture.load_picture(tmp_path / "a.png", 32)
    assert (pixels[2:14, 10:22] == RED).all()
    assert (pixels[18:] == 255).all()


def test_detail_finer_than_a_pixel_is_averaged(tmp_path: Path) -> None:
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    with pytest.raises(UnusableError, match="blank"):  # an even grey, so nothing to see
        picture.load_picture(tmp_path / "stripes.png", 32)


@pytest.mark.parametrize(
    ("name", "data"), [("a.png", b"\x89PNG\r\n"), ("a.svg", b"<svg"), ("b.svg", b"<html/>"), ("c.png", b"")]
)
def test_broken_files_are_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnusableError, match="cannot be"):
        picture.load_picture(tmp_path / name, 32)
