import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from omni.errors import InputError
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.video import VideoTokenizer, read_frames

REDS = [0, 40, 80, 120, 160, 200]


def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (40, 20), (red, 0, 255 - red)) for red in REDS]


def animation(path: Path, durations: list[int] | int = 100) -> Path:
    first, *rest = pictures()
    options = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=durations, **options)
    return path


def reds(frames: torch.Tensor) -> list[int]:
    return [round(float(red) * 255) for red in frames[:, 0, 16, 16]]


@pytest.fixture(scope="module")
def video() -> VideoTokenizer:
    torch.manual_seed(0)
    image = ImageTokenizer(ImageConfig(16, 8, (4, 4), 8, 8, 1, 1, 0)).eval()
    return VideoTokenizer(image, frame_rate=10)


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("video")


@pytest.mark.parametrize("count", [0, 1, 70])
def test_frames_are_coded_one_by_one(count: int, video: VideoTokenizer) -> None:
    frames = torch.rand(count, 3, 16, 16)
    codes = video.encode(frames)
    assert codes.shape == (count, 4)
    assert codes.dtype == torch.long
    assert video.decode(codes).shape == frames.shape
    for index in range(0, count, 23):
        assert torch.equal(codes[index], video.image.encode(frames[index : index + 1])[0])


def test_a_rate_that_is_none_is_refused(video: VideoTokenizer) -> None:
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="frame_rate"):
            VideoTokenizer(video.image, rate)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_animations_are_sampled_at_the_rate_asked_for(ending: str, tmp_path: Path) -> None:
    path = animation(tmp_path / f"a.{ending}")
    assert reds(read_frames(path, 32, 10, 16)) == REDS
    assert reds(read_frames(path, 32, 5, 16)) == REDS[::2]
    assert reds(read_frames(path, 32, 20, 16)) == [red for red in REDS for _ in range(2)]
    assert reds(read_frames(path, 32, 2, 16)) == [0, 200]               # at 0 and 0.5 s of 0.6 s
    assert reds(read_frames(path, 32, 10, 4)) == REDS[:4]
    frames = read_frames(path, 32, 10, 16)
    assert frames.shape == (6, 3, 32, 32)
    assert (frames[:, :, :7] == 1).all()                                # white above the wide picture


@settings(deadline=None, max_examples=15)
@given(durations=st.lists(st.sampled_from([20, 50, 300]), min_size=6, max_size=6), rate=st.sampled_from([1, 4, 10]))
def test_each_frame_is_what_is_on_screen(durations: list[int], rate: int, a_folder: Path) -> None:
    path = animation(a_folder / "a.png", durations)
    ends = [sum(durations[: i + 1]) for i in range(6)]
    expected = []
    for tick in range(0, sum(durations), 1000 // rate):                 # in whole milliseconds
        expected.append(REDS[next(i for i, end in enumerate(ends) if tick < end)])
    assert reds(read_frames(path, 32, rate, 99)) == expected


def test_a_still_picture_is_one_frame(tmp_path: Path) -> None:
    pictures()[2].save(tmp_path / "a.png")
    assert reds(read_frames(tmp_path / "a.png", 32, 4, 16)) == [80]


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number, picture in zip((2, 10, 1), pictures(), strict=False):
        picture.save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert reds(read_frames(tmp_path, 32, 4, 16)) == [80, 0, 40]
    assert reds(read_frames(tmp_path, 32, 4, 2)) == [80, 0]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="films need the program ffmpeg")
def test_films_are_read_through_ffmpeg(tmp_path: Path) -> None:
    source = animation(tmp_path / "a.gif")
    film = tmp_path / "a.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-pix_fmt", "yuv420p", film], check=True)
    for rate, expected in ((10, REDS), (5, REDS[::2]), (20, [red for red in REDS for _ in range(2)])):
        frames = read_frames(film, 32, rate, 16)
        assert frames.shape == (len(expected), 3, 32, 32)
        assert max(abs(a - b) for a, b in zip(reds(frames), expected, strict=True)) < 12
    assert len(read_frames(film, 32, 10, 4)) == 4


def test_without_ffmpeg_the_mend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install the program ffmpeg"):
        read_frames(tmp_path / "a.mp4", 32, 4, 16)


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n")
    whole = animation(tmp_path / "whole.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[:20])
    for name in ("none.mp4", "folder", "empty.mp4", "text.mp4", "list.m3u8", "cut.gif"):
        with pytest.raises(InputError, match=name) as caught:
            read_frames(tmp_path / name, 32, 4, 16)
        assert "\n" not in str(caught.value)
