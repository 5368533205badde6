"""How the beginning of speech is taught: what of a recording counts as speech, and that it is learnt."""

from pathlib import Path

import numpy as np
import pytest
import torch

from omni.errors import InputError
from omni.live.hearing.onset import BANDS, HOPS
from omni.live.hearing.pcm import HOP, RATE
from omni.train.data.items import Manifest
from omni.train.turns.onset import LEAD, LENGTH, UNCLEAR, Heard, examples, spoilt, spoken, teach, unspoken

SIZE = HOPS * (BANDS + 1)


def test_speech_is_what_follows_the_first_loud_hop() -> None:
    random = np.random.default_rng(0)
    wave = np.concatenate((np.zeros(20 * HOP), 0.3 * random.normal(size=RATE // 2), np.zeros(RATE))).astype(np.float32)
    heard = spoken(wave, random)
    assert heard is not None and heard.seen.shape == (len(heard.speech), SIZE)
    before = int(LEAD * 100) + 20 - UNCLEAR                             # hops that surely are none
    assert heard.speech.tolist() == [False] * before + [True] * int(LENGTH * 100)
    assert spoken(np.zeros(RATE, np.float32), random) is None
    assert not unspoken(wave, random).speech.any()


def test_a_spoilt_wave_is_as_long_and_as_loud_as_a_microphone_gives() -> None:
    for seed in range(9):
        wave = spoilt(np.full(RATE, 0.9, np.float32), np.random.default_rng(seed))
        assert len(wave) == pytest.approx((1 + LEAD) * RATE, abs=HOP)
        assert 0.1 < np.abs(wave).max() < 1.2


def test_what_differs_is_learnt_however_rare_it_is() -> None:
    random = np.random.default_rng(0)

    def heard(count: int, speech: bool) -> Heard:
        seen = random.normal(0, 1, (count, SIZE)).astype(np.float32)
        seen[:, :4] += 4 * speech
        return Heard(seen, np.full(count, speech))

    network = teach([heard(300, True), heard(300, False)], [heard(3000, False)])
    with torch.inference_mode():
        right = [(network(torch.from_numpy(heard(500, kind).seen)) > 0).float().mean() for kind in (True, False)]
    assert right[0] > 0.95 and right[1] < 0.1


def test_data_without_other_sounds_are_refused(prepared: Path) -> None:
    with pytest.raises(InputError, match="no other sounds; prepare the stamps"):
        examples(Manifest.load(prepared))
