"""A sentence read aloud by flite or espeak-ng, for tests that need real speech."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from omni.live.hearing.pcm import RATES, Wave
from omni.tokenizers.audio.wavefile import read_wave

SENTENCE = "what is this picture"


def read_aloud(text: str = SENTENCE) -> Wave | None:
    """At 24 kHz, from its first to its last voiced sample; None where there is no program to speak with."""
    program = shutil.which("flite") or shutil.which("espeak-ng")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        flags = ["-t", text, "-o", str(path)] if Path(program).name == "flite" else ["-w", str(path), text]
        subprocess.run([program, *flags], check=True, capture_output=True, timeout=60)
        wave = read_wave(path, RATES["audio/pcm"])
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    return wave[loud[0] : loud[-1] + 1]
