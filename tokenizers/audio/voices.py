"""Texts read aloud by a distribution's synthesizers: espeak-ng in many languages, festival and flite in English."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni.errors import InputError
from omni.tokenizers.audio import espeak

ENGINES = ("espeak-ng", "festival", "flite")
FLITE = ("rms", "kal16", "slt", "awb")                                  # those at 16 kHz; it takes any other for kal
FESTIVAL = {"slt": "voice_cmu_us_slt_arctic_hts", "kal": "voice_kal_diphone"}
_ESPEAK_LANGUAGES = {"en": "en-us", "zh-cn": "cmn"}                     # where its code differs from ours


@dataclass(frozen=True)
class Voice:
    """A speaker of an engine; `rate` is its words a minute, which only espeak-ng lets one choose.

    espeak-ng speaks any of its languages in any of its variants (`f3`, `m2`, ..); the others speak English.
    """

    engine: str
    name: str
    rate: int = 160

    def __str__(self) -> str:
        return f"{self.engine}/{self.name}" + (f"@{self.rate}" if self.engine == "espeak-ng" else "")


UNHEARD = (Voice("flite", "rms"), Voice("flite", "kal16"))              # in no training data; 16 kHz


def is_installed(engine: str) -> bool:
    if engine != "espeak-ng":
        return shutil.which(engine) is not None
    try:
        return bool(espeak.opened())
    except OSError:
        return False


def read_aloud(texts: Sequence[str], voice: Voice, language: str = "en") -> list[tuple[NDArray[np.float32], int]]:
    """Each text in that voice: mono samples and their rate in hertz.

    Raises InputError where the engine is missing, does not speak the language or fails.
    """
    if voice.engine not in ENGINES:
        raise InputError(f"voice {voice}: no engine {voice.engine!r}; use one of {', '.join(ENGINES)}")
    if not is_installed(voice.engine):
        raise InputError(f"voice {voice}: {voice.engine} is not installed; `make system` installs it (apt, as root)")
    known = {"festival": tuple(FESTIVAL), "flite": FLITE}.get(voice.engine)
    if known and voice.name not in known:
        raise InputError(f"voice {voice}: {voice.engine} has {', '.join(known)}")
    if voice.engine == "espeak-ng":
        return [_espeak(text, voice, language) for text in texts]
    if language != "en":
        raise InputError(f"voice {voice}: speaks English, not {language!r}; use a voice of espeak-ng")
    with tempfile.TemporaryDirectory(prefix="omni-voice-") as scratch:
        files = [Path(scratch) / f"{number}.wav" for number in range(len(texts))]
        if voice.engine == "festival":
            _festival(texts, voice, files)
        else:
            for text, file in zip(texts, files, strict=True):
                _run(["flite", "-voice", voice.name, "-t", text, "-o", str(file)], voice, text)
        return [_sound(file, voice, text) for text, file in zip(texts, files, strict=True)]


def _espeak(text: str, voice: Voice, language: str) -> tuple[NDArray[np.float32], int]:
    library = espeak.opened()
    try:
        tongue = _ESPEAK_LANGUAGES.get(language, language)
        return library.say(text, f"{tongue}+{voice.name}", voice.rate), library.sample_rate
    except ValueError as error:
        raise InputError(f"voice {voice}: espeak-ng has {error}; see `espeak-ng --voices`") from None


def _festival(texts: Sequence[str], voice: Voice, files: Sequence[Path]) -> None:
    """All texts in one process: loading a voice takes longer than a sentence."""
    lines = [f"({FESTIVAL[voice.name]})"]
    for text, file in zip(texts, files, strict=True):
        spoken = json.dumps(text.encode("ascii", "ignore").decode())    # Scheme strings are written as JSON's
        lines.append(f"(utt.save.wave (SynthText {spoken}) {json.dumps(str(file))} 'riff)")
    script = files[0].with_suffix(".scm") if files else None
    if script:
        script.write_text("\n".join(lines))
        _run(["festival", "--batch", str(script)], voice, texts[0])


def _run(command: Sequence[str], voice: Voice, text: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise InputError(f"{voice.engine}: could not read {text!r} aloud: {reason}")


def _sound(file: Path, voice: Voice, text: str) -> tuple[NDArray[np.float32], int]:
    try:
        wave, rate = soundfile.read(file, dtype="float32")
    except (soundfile.LibsndfileError, OSError):
        raise InputError(f"{voice.engine}: gave no sound for {text!r}; is {voice} one of its voices?") from None
    return np.asarray(wave, np.float32), int(rate)
