"""The microphone and the speaker, where this machine has them, through the optional package sounddevice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError


def record(seconds: float, sample_rate: int) -> NDArray[np.float32]:
    """What the microphone hears: mono samples. Raises InputError where there is none, or no sounddevice."""
    devices = _sounddevice()
    try:
        devices.check_input_settings(channels=1, samplerate=sample_rate)
        print(f"(listening for {seconds:g} s)", flush=True)
        heard = devices.rec(round(seconds * sample_rate), samplerate=sample_rate, channels=1, dtype="float32")
        devices.wait()
    except (devices.PortAudioError, ValueError) as error:
        raise InputError(f"no microphone can be used ({error}); connect one, or give a file: /audio FILE") from None
    mono: NDArray[np.float32] = heard[:, 0]
    return mono


def play(wave: NDArray[np.float32], sample_rate: int) -> None:
    """Play mono samples to their end, where there is a speaker."""
    try:
        devices = _sounddevice()
    except InputError:
        return
    try:
        devices.play(wave, sample_rate)
        devices.wait()
    except (devices.PortAudioError, ValueError):                        # no speaker is no error: the file is there
        return
    finally:
        devices.stop()                                                  # Ctrl-C silences it


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise InputError("a microphone needs the package sounddevice; install it, or give one: /audio FILE") from None
    except OSError as error:                                            # the package is there, its C library is not
        raise InputError(f"sounddevice: {error}; install PortAudio, or give a file: /audio FILE") from None
    return sounddevice
