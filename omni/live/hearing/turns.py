"""Who has the turn: when the user begins to speak, pauses, goes on and has ended."""

import math
from dataclasses import dataclass, field

import numpy as np

from omni.live.hearing.cadence import Cadence
from omni.live.hearing.pcm import HOP, RATE, Wave
from omni.live.hearing.vad import VoiceActivity

SPECULATE = 40                                                          # ms of silence at which an answer is begun
APART = 80                                                              # ms of silence after which voice counts anew
SURE, DOUBT = 90, 330                                                   # ms of silence that an end needs; a doubt adds
EVEN, STEEP = 2.5, 2.0                                                  # log-odds at which half is added, and how soon
MODEL = 0.05                                                            # of the model's log-odds that count
DOUBTFUL = 200                                                          # ms: for longer waits the model is asked
GOES_ON = 0.1                                                           # probability below which the user goes on
# Patience, and ms that are waited where it is certain that the user goes on; auto waits no longer for that.
EAGERNESS = {"low": (3.0, 8000), "medium": (1.0, 4000), "high": (0.6, 2000), "auto": (1.0, None)}
USUAL = 0.6                                                             # taken where the model cannot tell
CERTAIN = 1e-3                                                          # nearer to 0 or 1 the model is not believed
LATE = RATE * 3 // 10                                                   # samples that the network may be late
UNSURE = 200                                                            # ms of a sound that may yet be speech
SPOKEN = 20                                                             # ms of voice before speech counts as begun
FOLLOWED = 800                                                          # ms in which words follow an onset alone


@dataclass(frozen=True)
class Rules:
    """What ends a turn.

    threshold:   probability of speech from which on it is speech
    prefix_ms:   how much of what was heard before the speech belongs to it
    silence_ms:  how long the user must be silent; None leaves it to what is said and how (semantic)
    patience:    scales the silence that a doubtful end adds (semantic only)
    longest_ms:  what is waited where it is certain that this is no end; None: no more than doubt adds (semantic only)
    idle_ms:     silence after an answer at which the user is spoken to; None never
    """

    threshold: float = 0.5
    prefix_ms: int = 300
    silence_ms: int | None = None
    patience: float = 1.0
    longest_ms: int | None = None
    idle_ms: int | None = None

    @property
    def semantic(self) -> bool:
        """Whether what was said, and how, decides for how long the user must be silent."""
        return self.silence_ms is None

    def needed(self, odds: float, ended: float | None) -> float:
        """Milliseconds of silence that end the turn.

        odds: log-odds of the cadence that all was said; ended: the model's probability of it, None where it says none
        """
        if self.silence_ms is not None:
            return self.silence_ms
        sure = min(max(USUAL if ended is None else ended, CERTAIN), 1 - CERTAIN)
        odds += MODEL * math.log(sure / (1 - sure))
        wait = SURE + DOUBT * self.patience / (1 + math.exp(STEEP * (odds - EVEN)))  # measured: docs/live.md
        if self.longest_ms is None:
            return wait
        goes_on = max(0.0, 1 - 1 / (1 + math.exp(-odds)) / GOES_ON)
        return wait + (self.longest_ms - wait) * goes_on**4


@dataclass(frozen=True)
class Change:
    """kind: `started`, `paused`, `resumed` or `ended`; at: the sample (of 16 kHz) of the stream where it happened."""

    kind: str
    at: int


@dataclass
class Turns:
    """Follows one stream of 16 kHz samples; tell it `ended`, the model's word, in doubtful pauses."""

    rules: Rules
    activity: VoiceActivity = field(init=False)
    cadence: Cadence = field(init=False, default_factory=Cadence)
    speaking: bool = False
    paused: bool = False
    ended: float | None = None
    _odds: float = 0.0                                                  # the cadence's, of this pause
    _rest: Wave = field(init=False, default_factory=lambda: np.zeros(0, np.float32))
    _voiced: int = 0                                                    # samples of voice since silence
    _begun: int = 0                                                     # the sample at which the turn was known of
    _seen: int = 0                                                      # `voiced_until` when it was last looked at

    def __post_init__(self) -> None:
        self.activity = VoiceActivity(self.rules.threshold)

    @property
    def heard(self) -> int:
        """Samples listened to."""
        return self.activity.heard

    @property
    def silence(self) -> int:
        """For how many samples nothing voiced was heard."""
        return self.heard - self.activity.voiced_until

    @property
    def silence_ms(self) -> float:
        return self.silence * 1000 / RATE

    @property
    def doubtful(self) -> bool:
        """Whether the model is to say if that was all: in a pause after which, as it sounded, the user may go on.

        Asking takes a third of the time in which the model has an answer's first sound, which would come later by it
        where an end is plain; and there its word would change next to nothing.
        """
        return self.paused and self.rules.semantic and self._needed > DOUBTFUL

    def hear(self, samples: Wave) -> list[Change]:
        """Listen on; what changed, in order."""
        wave, changes = np.concatenate((self._rest, samples)), []
        whole = len(wave) // HOP * HOP
        for start in range(0, whole, HOP):
            hop = wave[start : start + HOP]
            self.activity.begun = self.speaking
            self.activity.hear(hop)
            self.cadence.hear(hop)
            changes += self._look()
        self._rest = wave[whole:]
        return changes

    def forget(self) -> None:
        """The turn is over for another reason than silence."""
        self.speaking = self.paused = False
        self.ended, self._odds, self._voiced = None, 0.0, 0
        self.cadence.forget()

    def _look(self) -> list[Change]:
        voiced = self.activity.voiced_until != self._seen
        self._seen = self.activity.voiced_until
        if voiced:
            return self._voice()
        if self.silence_ms > APART:
            self._voiced = 0
        if not self.speaking:
            return []
        if self.silence_ms >= self._needed and not self._rises:
            self.forget()
            return [Change("ended", self.activity.voiced_until)]
        if self._certain and not self.paused and self.silence_ms >= SPECULATE:
            self.paused, self.ended = True, None
            self._odds = self.cadence.odds(self.silence) if self.rules.semantic else 0.0
            return [Change("paused", self.activity.voiced_until)]
        return []

    @property
    def _certain(self) -> bool:
        """Whether silero-vad has seen speech in the turn; an onset alone may be a breath, before words."""
        return self.activity.seen_until >= self._begun

    @property
    def _needed(self) -> float:
        """Milliseconds of silence that end the turn."""
        needed = self.rules.needed(self._odds, self.ended)
        return needed if self._certain else max(needed, FOLLOWED)

    @property
    def _rises(self) -> bool:
        """Whether a sound has begun of which the network cannot say yet whether the user goes on."""
        return 0 < self.activity.rising * 1000 <= UNSURE * RATE

    def _voice(self) -> list[Change]:
        self._voiced += HOP
        if not self.speaking and self._voiced * 1000 >= SPOKEN * RATE:
            self.speaking, self._begun = True, self.heard
            begun = self.heard - self._voiced                           # as the network saw it, which is late
            return [Change("started", max(self.activity.loud_since, begun - LATE))]
        if self.paused:
            self.paused, self.ended = False, None
            return [Change("resumed", self.heard - HOP)]
        return []
