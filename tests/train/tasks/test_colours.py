import numpy as np
import pytest

from omni.train.tasks.colours import colour_of

PAINTS = {
    "red": (220, 20, 20), "orange": (255, 140, 0), "yellow": (250, 230, 20), "green": (30, 160, 40),
    "blue": (30, 60, 220), "purple": (130, 30, 200), "pink": (250, 100, 190), "brown": (120, 70, 30),
    "black": (10, 10, 10), "grey": (130, 130, 130),
}  # fmt: skip


def painted(colour: tuple[int, int, int], side: int) -> np.ndarray:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[:side, :side] = colour
    return picture


@pytest.mark.parametrize("name", PAINTS)
def test_a_patch_has_the_colour_of_its_paint(name: str) -> None:
    assert colour_of(painted(PAINTS[name], 40)) == name


def test_small_patches_white_and_mixtures_have_no_colour() -> None:
    assert colour_of(painted(PAINTS["red"], 8)) is None
    assert colour_of(painted((255, 255, 255), 64)) is None
    mixed = painted(PAINTS["red"], 64)
    mixed[:32] = PAINTS["blue"]
    assert colour_of(mixed) is None
