import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from omni.errors import InputError
from omni.tokenizers.audio.wavefile import read_open_wave, read_wave, write_wave


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_wave(path, 16000)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_written_and_read_a_wave_is_the_same_to_16_bits(tmp_path: Path) -> None:
    wave = tone(440, 16000)
    write_wave(tmp_path / "a.wav", wave, 16000)
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav", 16000), wave, atol=1 / 32000)


def test_too_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", np.array([2, -2, 0], np.float32), 16000)
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav", 16000), [1, -1, 0], atol=1 / 16000)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_any_rate_and_format_keeps_a_tone(ending: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"a.{ending}", tone(440, 44100), 44100)
    wave = read_wave(tmp_path / f"a.{ending}", 16000)
    assert wave.dtype == np.float32
    assert abs(len(wave) - 8000) <= 1
    np.testing.assert_allclose(wave[500:7500], tone(440, 16000)[500:7500], atol=0.02)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(300, 16000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left], axis=1), 16000)
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav", 16000), 0, atol=1e-4)


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.wav")
    assert "a folder" in refusal(tmp_path)
    text = tmp_path / "text.wav"
    text.write_text("this is no sound")
    assert "not audio" in refusal(text)
    nothing = tmp_path / "nothing.wav"
    nothing.touch()
    assert "not audio" in refusal(nothing)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16000)
    assert "empty audio" in refusal(tmp_path / "empty.wav")


def test_a_file_that_was_cut_off_is_refused_and_a_stream_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(440, 16000), 16000)
    whole = path.read_bytes()
    for length in (1000, len(whole) - 2):
        path.write_bytes(whole[:length])
        assert f"cut off, {length - 44:,} of 16,000 bytes of sound are there; copy it again" in refusal(path)
        with pytest.raises(InputError, match=r"^the file: cut off"):
            read_open_wave(io.BytesIO(whole[:length]), "the file", 16000, 10)
    note = b"LIST" + struct.pack("<I", 3) + b"odd\0"                    # as a chunk of other things before the sound
    for unknown in (0xFFFFFFFF, 0xFFFFFFFF - 36, 0x80000000, 0x7FFFF000):  # of ffmpeg, OpenAI, arecord, sox
        header = b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + whole[8:36] + note + b"data" + struct.pack("<I", unknown)
        path.write_bytes(header + whole[44:])
        np.testing.assert_allclose(read_wave(path, 16000), tone(440, 16000), atol=1 / 32000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(value: float, tmp_path: Path) -> None:
    wave = tone(440, 16000)
    wave[17] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    assert "1 samples are NaN or infinite" in refusal(tmp_path / "a.wav")


def test_three_hours_are_refused_by_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    bytes_of_sound = 3 * 3600 * 8000
    header = b"RIFF" + struct.pack("<I", 36 + bytes_of_sound) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", bytes_of_sound)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + bytes_of_sound)                              # a hole in the file: no disk is filled
    assert "3.0 hours of audio; cut it to at most 120 s" in refusal(path)


def test_nothing_is_left_of_a_failed_write(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_wave(tmp_path / "a.wav", np.array(["x"]), 16000)
    assert list(tmp_path.iterdir()) == []
