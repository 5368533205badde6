"""Sounds made to measure the music guard by: notes that are held, and the same timbres gliding as speech does."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

HERTZ = (98.0, 147.0, 220.0, 330.0, 494.0, 740.0)                       # from a deep voice's to a violin's
SECONDS = 2.0
VOWEL = ((700.0, 110.0), (1220.0, 120.0), (2600.0, 160.0))              # formants of an "a" and their widths, hertz
TIMBRES = {                                                             # (vibrato in cents, how harmonics fall off)
    "flute": (10.0, 3.0), "organ": (0.0, 1.0), "string": (20.0, 1.0), "sung": (60.0, 1.0),
}  # fmt: skip
RATE_OF_VIBRATO = 5.5                                                   # hertz, of singers and strings


def labelled(rate: int) -> Iterator[tuple[str, NDArray[np.float32], bool]]:
    """(name, samples [n] float32, whether it is music): each timbre on each pitch, held and gliding."""
    time = np.arange(int(SECONDS * rate)) / rate
    for timbre, (cents, fall) in TIMBRES.items():
        vibrato = cents / 1200 * np.sin(2 * np.pi * RATE_OF_VIBRATO * time)
        for number, hertz in enumerate(HERTZ):
            speed = 1.5 + 0.25 * number                                 # contours a second, half an octave wide
            glide = 0.25 * np.sin(2 * np.pi * speed * time) + 0.05 * np.sin(2 * np.pi * 0.7 * time)
            for name, octaves in (("held", vibrato), ("gliding", glide)):
                wave = _sound(hertz * 2**octaves, rate, fall, sung=timbre == "sung")
                yield f"{timbre} at {hertz:.0f} Hz, {name}", wave, name == "held"


def _sound(hertz: NDArray[np.float64], rate: int, fall: float, sung: bool) -> NDArray[np.float32]:
    """Harmonics of a pitch that may move, each as loud as its number to the power of -fall, or as a vowel has it."""
    phase, wave = 2 * np.pi * np.cumsum(hertz) / rate, np.zeros(len(hertz))
    for number in range(1, 1 + int(min(20, rate / 2 / hertz.max()))):
        at = number * hertz
        shape = sum(1 / (1 + ((at - formant) / width) ** 2) for formant, width in VOWEL) if sung else 1.0
        wave += shape * number**-fall * np.sin(number * phase)
    fade = np.minimum(1, np.minimum(np.arange(len(wave)), np.arange(len(wave))[::-1]) / (0.05 * rate))
    return (0.3 * fade * wave / np.abs(wave).max()).astype(np.float32)
