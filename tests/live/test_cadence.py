"""The end of what is said: the small network as it is computed here, and as torch, which taught it, computes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from talking import resampled, silence

from omni.errors import InputError
from omni.live.hearing.cadence import FILE, HOPS, WIDTH, Cadence, judged
from omni.live.hearing.pcm import HOP, RATE, Wave
from omni.live.hearing.turns import Rules, Turns
from omni.train.data.items import Manifest
from omni.train.turns.cadence import SILENCE, Network, Pause, examples, heard, otherwise, pauses, teach


@pytest.fixture(scope="session")
def said(spoken: Wave) -> Wave:
    return resampled(spoken, 24_000, RATE)


@pytest.fixture(scope="session")
def network() -> Network:
    """The shipped weights in torch."""
    state = load_file(FILE)
    one = Network(state["mean"], state["scale"])
    one.load_state_dict(state)
    return one.eval()


def room(seconds: float) -> Wave:
    return resampled(silence(seconds), 24_000, RATE)


def test_odds_are_those_of_torch(network: Network) -> None:
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    for seed in range(5):
        seen = np.random.default_rng(seed).normal(-8, 4, (HOPS, WIDTH)).astype(np.float32)
        with torch.inference_mode():
            expected = float(network(torch.from_numpy(seen)[None]))
        assert judged(seen, weights) == pytest.approx(expected, abs=1e-3)


def test_what_follows_the_voice_is_not_looked_at(said: Wave) -> None:
    """A recording that was cut must not sound finished for its cut."""
    found = []
    for behind in (room(0.08), np.zeros(8 * HOP, np.float32), 0.1 * np.ones(8 * HOP, np.float32)):
        cadence = Cadence()
        wave = np.concatenate((said[: len(said) // HOP * HOP], behind[: 8 * HOP]))
        for start in range(0, len(wave), HOP):
            cadence.hear(wave[start : start + HOP])
        found.append(cadence.odds(8 * HOP))
    assert found[0] == found[1] == found[2]


def test_nothing_of_the_turn_before_is_looked_at(said: Wave) -> None:
    used, fresh = Turns(Rules()), Turns(Rules())
    wave = np.concatenate((room(0.5), said, room(1.0)))
    used.hear(wave[: len(wave) // HOP * HOP])
    assert not used.speaking                                            # that turn has ended
    odds = []
    for turns in (used, fresh):
        turns.forget()
        turns.hear(np.concatenate((room(0.1), said[: RATE // HOP * HOP])))
        odds.append(turns.cadence.odds(0))
    assert odds[0] == odds[1]


def test_pauses_are_told_as_they_are_waited_for(said: Wave) -> None:
    """By hand: 0.4 s between two sayings of one thing, then the end."""
    wave = np.concatenate((room(0.5), said, room(0.4), said, room(1.0)))
    found = list(heard(wave, len(wave) - RATE))
    (pause,) = [one for one in found if not one.over and one.wait > 0.3]
    assert 0.3 <= pause.wait <= 0.5 and not pause.ended and pause.weight == 1
    last = found[-1]
    assert last.over and last.ended and -0.1 <= last.wait <= 0.1 and last.seen.shape == (HOPS, WIDTH)


def test_a_pause_longer_than_the_silence_is_none_that_ends(said: Wave) -> None:
    wave = np.concatenate((room(0.5), said, room(SILENCE + 0.3), said, room(1.0)))
    found = list(heard(wave, len(wave) - RATE))
    assert [one.wait for one in found if not one.over and one.wait > 0.5] == [SILENCE]
    assert found[-1].ended


def test_a_recording_is_heard_in_a_room(said: Wave) -> None:
    found = list(pauses(said, np.random.default_rng(0)))
    assert found[-1].ended and sum(one.over for one in found) == 1
    assert list(pauses(np.zeros(RATE, np.float32), np.random.default_rng(0))) == []


def test_what_is_changed_keeps_its_end() -> None:
    """Slower or faster, but the last hop stays the last."""
    torch.manual_seed(0)
    ramp = torch.linspace(-50, 50, HOPS)[:, None].expand(HOPS, WIDTH)[None].repeat(20, 1, 1)
    changed = otherwise(ramp.clone())
    level = changed[:, -1].median(1).values
    assert ((level - 50).abs() < 2).all()
    earlier = changed[:, -23].median(1).values                          # 22.2 below the end, times 0.85 to 1.15
    assert ((earlier - level + 22.2).abs() < 5).all() and (earlier - level).std() > 1


def test_the_network_learns_which_end_falls() -> None:
    """Pauses that are ends where the sound falls: told apart after four epochs."""
    random, found = np.random.default_rng(0), []
    for number in range(400):
        over = number % 2 == 0
        slope = np.linspace(0, -3 if over else 3, HOPS)[:, None]
        seen = (random.normal(-8, 1, (HOPS, WIDTH)) + slope).astype(np.float32)
        found.append(Pause(seen, 0.0 if over else 0.4, over))
    network = teach(found, epochs=4)
    with torch.inference_mode():
        odds = network(torch.from_numpy(np.stack([one.seen for one in found]))).numpy()
    assert ((odds > 0) == [one.ended for one in found]).mean() > 0.9


def test_too_little_to_learn_from_is_refused(prepared: Path) -> None:
    some = [Pause(np.zeros((HOPS, WIDTH), np.float32), 0.0, over=True)] * 100
    with pytest.raises(InputError, match="100 pauses are too few"):
        teach(some)
    with pytest.raises(InputError, match="no recordings of people in nowhere"):
        examples(Manifest.load(prepared), "nowhere")
