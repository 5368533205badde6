"""The beginning of speech: the small network as it is computed here, and as torch, which taught it, computes it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from talking import resampled, silence

from omni.live.hearing.onset import FILE, Onset, judged
from omni.live.hearing.pcm import HOP, RATE, Wave
from omni.live.hearing.turns import Rules, Turns
from omni.live.hearing.vad import Silero
from omni.train.turns.onset import Network, listened


@pytest.fixture(scope="session")
def said(spoken: Wave) -> Wave:
    wave = resampled(spoken, 24_000, RATE)
    return np.concatenate([resampled(silence(0.5), 24_000, RATE), wave])


@pytest.fixture(scope="session")
def network() -> Network:
    """The shipped weights in torch."""
    state = load_file(FILE)
    one = Network(torch.zeros(2, len(state["mean"])))
    one.load_state_dict(state)
    return one.eval()


def test_odds_are_those_of_torch(network: Network) -> None:
    seen = np.random.default_rng(0).normal(0, 5, (100, len(network.mean))).astype(np.float32)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    with torch.inference_mode():
        expected = network(torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(judged(seen, weights), expected, rtol=1e-4, atol=1e-4)


def test_a_stream_is_heard_as_it_was_learnt_from(said: Wave, network: Network) -> None:
    """Hop by hop, live; and at once, in training."""
    onset, silero, live = Onset(), Silero(), []
    for start in range(0, len(said) - HOP + 1, HOP):
        silero.hear(said[start : start + HOP])
        onset.hear(said[start : start + HOP], silero.probability)
        live.append(onset.odds)
    with torch.inference_mode():
        taught = network(torch.from_numpy(listened(said).copy())).numpy()
    np.testing.assert_allclose(live, taught, rtol=1e-3, atol=1e-3)
    assert max(live[: RATE // 2 // HOP]) < 0 < max(live)


def test_speech_begins_sooner_than_silero_vad_sees_it(said: Wave) -> None:
    silero, turns, seen, told = Silero(), Turns(Rules()), None, None
    for start in range(0, len(said) - HOP + 1, HOP):
        silero.hear(said[start : start + HOP])
        if turns.hear(said[start : start + HOP]) and told is None:
            told = start
        if silero.probability >= 0.35 and seen is None:
            seen = start
    assert told is not None and seen is not None and RATE // 2 <= told <= seen + HOP


def test_what_silero_vad_alone_hears_begins_a_turn_late(said: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    """A voice that the small network does not know is heard all the same. (silero-vad sees this one after 0.25 s.)"""
    monkeypatch.setattr(Onset, "odds", property(lambda self: -9.0))
    turns, told = Turns(Rules()), None
    for start in range(0, len(said) - HOP + 1, HOP):
        if turns.hear(said[start : start + HOP]) and told is None:
            told = start
    assert told is not None and 0.2 * RATE <= told - RATE // 2 <= 0.7 * RATE


def test_a_higher_threshold_wants_surer_speech(said: Wave) -> None:
    def begins(threshold: float) -> int:
        turns = Turns(Rules(threshold=threshold))
        return next(start for start in range(0, len(said), HOP) if turns.hear(said[start : start + HOP]))

    assert begins(0.1) <= begins(0.5) <= begins(0.9)
