"""English read aloud by flite, whose voices are in no training data: known words in voices that nobody trained on."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni.errors import InputError
from omni.tokenizers.audio.recognizer import RATE

VOICES = ("rms", "kal16")                                               # of those at 16 kHz, the best understood


def is_installed() -> bool:
    return shutil.which("flite") is not None


def read_aloud(text: str, voice: str) -> NDArray[np.float32]:
    """The text in a voice of VOICES, mono at 16 kHz. Raises InputError where flite fails."""
    with tempfile.TemporaryDirectory(prefix="omni-flite-") as scratch:
        path = Path(scratch) / "said.wav"
        done = subprocess.run(["flite", "-voice", voice, "-t", text, "-o", path], capture_output=True, text=True)
        if done.returncode or not path.is_file():
            raise InputError(f"flite: could not read {text!r} aloud: {done.stderr.strip() or done.returncode}")
        wave, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        raise InputError(f"flite: the voice {voice} speaks at {rate} Hz; use {' or '.join(VOICES)}")
    return np.asarray(wave, dtype=np.float32)
