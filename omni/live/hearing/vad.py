"""Where there is speech in a stream: silero-vad says whether, its onset when, the level where exactly it ends."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omni.errors import InputError
from omni.live.hearing.onset import Onset
from omni.live.hearing.pcm import HOP, RATE, Wave

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CHUNK = 512                                                             # samples that silero-vad judges at once
CONTEXT = 64                                                            # and those it wants before them
FALL = 10 ** (-30 / 20)                                                 # this far below the speech's level is silence
FLOOR = 10 ** (-55 / 20)                                                # and so is this far below full scale
BREATH = RATE // 20                                                     # samples of quiet within one sound
FORGET = 0.5 ** (HOP / RATE / 1.5)                                      # the speech's level halves in 1.5 s
BEGINS = 3.0                                                            # log-odds of an onset; measured: docs/live.md
AFRESH = RATE * 3 // 10                                                 # samples without speech before it begins anew
LASTING = RATE // 5                                                     # and of what silero-vad alone begins it with


class Silero:
    """silero-vad along one stream: `probability` is that of speech in the last 32 ms."""

    def __init__(self) -> None:
        self.probability = 0.0
        self._network = _network()
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._chunk = np.zeros(0, np.float32)

    def hear(self, samples: Wave) -> None:
        self._chunk = np.concatenate((self._chunk, samples))
        while len(self._chunk) >= CHUNK:
            self._judge(self._chunk[:CHUNK])
            self._chunk = self._chunk[CHUNK:]

    def _judge(self, chunk: Wave) -> None:
        inputs = {
            "input": np.concatenate((self._context, chunk))[None],      # [1, 576]
            "state": self._state,
            "sr": np.array(RATE, np.int64),
        }
        probability, self._state = self._network.run(None, inputs)
        self.probability = float(probability[0, 0])
        self._context = chunk[-CONTEXT:]


class VoiceActivity:
    """One stream of 16 kHz samples.

    `heard` counts samples; `voiced_until` is where the last voiced 10 ms ended, `loud_since` where the sound that lasts
    till then began, speech or not. silero-vad goes on seeing speech some 60 to 100 ms after its end; the level falls at
    once. So a stretch is voiced when both say so, and an end is known to 10 ms. What is not `begun` yet, as whoever
    listens says, begins with an onset, which stands for silero-vad until that sees speech too, or when silero-vad sees
    it for 200 ms; `seen_until` is where that was last. `rising` counts the latest samples as loud as the speech was: of
    speech that goes on the level tells some 40 ms before silero-vad.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.begun = False
        self.heard = 0
        self.voiced_until = self.loud_since = self.rising = 0
        self._loud_until = 0
        self._silero, self._onset = Silero(), Onset()
        self.seen_until = -AFRESH                                       # where silero-vad was last believed
        self._seeing = 0                                                # samples that it has been sure of
        sure = min(max(threshold, 0.01), 0.99)
        self._begins = BEGINS + float(np.log(sure / (1 - sure)))
        self._hop = np.zeros(0, np.float32)
        self._level = 0.0                                               # RMS of speech lately

    def hear(self, samples: Wave) -> None:
        """Listen to more of the stream: samples [at most 160] keep `voiced_until` to 10 ms."""
        self._silero.hear(samples)
        self._hop = np.concatenate((self._hop, samples))
        while len(self._hop) >= HOP:
            self._weigh(self._hop[:HOP])
            self._hop = self._hop[HOP:]

    def _weigh(self, hop: Wave) -> None:
        self.heard += HOP
        self._onset.hear(hop, self._silero.probability)
        rms = float(np.sqrt(np.mean(np.square(hop, dtype=np.float64))))
        if rms > FLOOR:
            if self.heard - self._loud_until > BREATH:
                self.loud_since = self.heard - HOP
            self._loud_until = self.heard
        speaks = self._speaks(rms)
        if speaks:
            self._level = max(rms, self._level * FORGET)
        audible = rms > max(FLOOR, self._level * FALL)
        self.rising = self.rising + HOP if audible else 0
        if speaks and audible:
            self.voiced_until = self.heard

    def _speaks(self, rms: float) -> bool:
        said, loud = self._silero.probability, rms > FLOOR
        sees = said >= self.threshold - 0.15                            # silero's own hysteresis
        self._seeing = self._seeing + HOP * (loud and said >= self.threshold) if sees else 0
        if sees and (self.begun or self._seeing >= LASTING):
            self.seen_until = self.heard
            return True
        return loud and self.heard - self.seen_until > AFRESH and self._onset.odds >= self._begins


@cache
def _network() -> "InferenceSession":
    """silero-vad's network as its wheel ships it, one for all streams: their state is their own."""
    shipped = find_spec("silero_vad")                                   # found, not imported: that would import torch
    try:
        import onnxruntime
    except ImportError:
        shipped = None
    if shipped is None or shipped.origin is None:
        raise InputError('turn detection needs silero-vad; install it with pip install "omni[live]"')
    path = Path(shipped.origin).parent / "data" / "silero_vad.onnx"
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
