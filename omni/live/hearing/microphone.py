"""The user's sound as it comes in: at which sample we are, what was heard lately, and who has the turn."""

import numpy as np

from omni.live.hearing.pcm import RATE, RATES, Resampler, Wave, from_base64
from omni.live.hearing.turns import Change, Rules, Turns

REMEMBERED = 8                                                          # seconds of sound kept for a turn's beginning


class Microphone:
    """One input audio buffer. Positions are samples at 16 kHz since the session began.

    turns: None where the client ends turns by hand; heard: samples so far; since: where the buffer began
    """

    def __init__(self, encoding: str, rules: Rules | None, model_rate: int, heard: int = 0) -> None:
        """encoding: one of `RATES`; rules: of turn detection, None where there is none"""
        self.encoding = encoding
        self.turns = None if rules is None else Turns(rules)
        self.heard = self.since = self._offset = self._free = heard     # _free: where the last turn ended
        self._resampler = Resampler(RATES[self.encoding], RATE)
        self._to_model = Resampler(RATE, model_rate)
        self._memory: Wave = np.zeros(0, np.float32)

    @property
    def speaking(self) -> bool:
        return self.turns is not None and self.turns.speaking

    def hear(self, text: str) -> tuple[Wave, list[Change]]:
        """More sound, base64: at 16 kHz, and what changed with it. Raises InputError for what is no sound."""
        wave = self._resampler(from_base64(text, self.encoding))
        self.heard += len(wave)
        if self.turns is None:
            return wave, []
        self._memory = np.concatenate((self._memory, wave))[-REMEMBERED * RATE :]
        changes = [Change(each.kind, each.at + self._offset) for each in self.turns.hear(wave)]
        return wave, changes

    def to_model(self, wave: Wave) -> Wave:
        """The same sound at the rate of the model's codec."""
        return self._to_model(wave)

    def from_sample(self, start: int) -> Wave:
        """What was heard from this position on, as far as it is remembered, at 16 kHz."""
        return self._memory[len(self._memory) - min(self.heard - start, len(self._memory)) :]

    def begin(self, at: int) -> int:
        """Where a turn begins whose speech does at this position: before it, but in no turn that was before."""
        prefix = 0 if self.turns is None else self.turns.rules.prefix_ms * RATE // 1000
        return max(self._free, at - prefix)

    def empty(self, at: int | None = None) -> None:
        """The buffer begins anew here; at: where the turn that was in it ended by itself, after which another may have
        begun already.
        """
        self.since = self.heard
        self._free = self.heard if at is None else at
        if self.turns is not None and at is None:
            self.turns.forget()


def milliseconds(position: int) -> int:
    """A position as the protocol tells it."""
    return position * 1000 // RATE
