import numpy as np
import pytest

from omni.train.tasks.video import DIRECTIONS, FEWEST, FRAMES, WHERE, WHICH, moving


@pytest.mark.parametrize("count", range(FEWEST, FRAMES + 1))
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_picture_moves_the_way_the_answer_says(direction: tuple[int, int], count: int) -> None:
    frames = moving(np.zeros((64, 64, 3), np.uint8), direction, count)
    assert frames.shape == (count, 64, 64, 3)
    centres = np.array([np.argwhere(frame[..., 0] == 0).mean(axis=0) for frame in frames])  # (y, x)
    steps = np.diff(centres, axis=0)
    dx, dy = direction
    assert (np.sign(steps[:, 1]) == dx).all() and (np.sign(steps[:, 0]) == dy).all()


def test_every_language_of_the_questions_has_every_answer() -> None:
    assert set(WHICH) == set(WHERE)
    assert all(set(words) == set(WHICH) for words in DIRECTIONS.values())
