"""espeak-ng in this process: its library speaks a sentence in 3 ms, its program takes ten times as long to start."""

import ctypes
from functools import cache

import numpy as np
from numpy.typing import NDArray

LIBRARY = "libespeak-ng.so.1"
_SYNCHRONOUS = 2                                                        # samples come back, none are played
_DONT_EXIT = 0x8000                                                     # where its data files are missing
_UTF8 = 1
_RATE = 1                                                               # number of the parameter
_Heard = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library, which has one state for the whole process. Raises OSError where it is not installed.

    Its flutter and noise go on from sentence to sentence, so the same text sounds alike again, not equal to the bit.
    """

    def __init__(self) -> None:
        self.library = ctypes.CDLL(LIBRARY)
        self.sample_rate = int(self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, _DONT_EXIT))
        if self.sample_rate <= 0:
            raise OSError(f"{LIBRARY} has no voices")
        self._heard: list[NDArray[np.int16]] = []
        self._callback = _Heard(self._hear)                             # kept: the library calls it later
        self.library.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: object) -> int:
        if samples and count > 0:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, rate: int) -> NDArray[np.float32]:
        """Samples [n] at `sample_rate`; voice: a language and a variant, `fr+f3`; rate: words a minute.

        Raises ValueError for a voice it does not have.
        """
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"no voice {voice}")
        self.library.espeak_SetParameter(_RATE, rate, 0)
        self._heard.clear()
        spoken = text.encode()
        self.library.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, _UTF8, None, None)
        self.library.espeak_Synchronize()
        heard = np.concatenate(self._heard) if self._heard else np.zeros(0, np.int16)
        return heard.astype(np.float32) / np.float32(32768)


@cache
def opened() -> Espeak:
    """The library, loaded once. Raises OSError where it is not installed."""
    return Espeak()
