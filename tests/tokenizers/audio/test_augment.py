import numpy as np

from omni.tokenizers.audio.augment import degraded, echoed, narrowed, noisy

RATE = 16000


def chance() -> np.random.Generator:
    return np.random.default_rng(5)


def white() -> np.ndarray:
    return 0.1 * chance().standard_normal(RATE).astype(np.float32)


def power(wave: np.ndarray, low: float, high: float) -> float:
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    return float(np.square(np.abs(np.fft.rfft(wave)[(frequency >= low) & (frequency < high)])).sum())


def test_a_narrow_band_has_nothing_above_its_edge_and_all_below() -> None:
    wave = white()
    made = narrowed(wave, RATE, 3000)
    assert power(made, 3300, 8000) < 1e-6 * power(wave, 3300, 8000)
    assert abs(power(made, 0, 3000) / power(wave, 0, 3000) - 1) < 1e-3


def test_noise_is_as_loud_as_asked() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    noise = noisy(tone, 12.0, chance()) - tone
    ratio = 10 * np.log10(np.square(tone).mean() / np.square(noise).mean())
    assert abs(ratio - 12) < 0.01


def test_an_echo_comes_after_the_sound_and_falls_by_60_decibels() -> None:
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    made = echoed(click, RATE, 0.2, chance())
    assert np.abs(made[:100]).max() < 1e-6 and abs(made[100] - 1) < 1e-5
    early, late = (np.abs(made[start : start + 300]).max() for start in (101, 100 + int(0.19 * RATE)))
    assert 0 < late < 0.01 * early and np.abs(made[101 + int(0.2 * RATE) :]).max() < 1e-5


def test_damage_depends_on_the_dice_alone_and_keeps_the_length() -> None:
    wave = white()
    heard, clean = degraded(wave, RATE, chance())
    again, _ = degraded(wave, RATE, chance())
    assert np.array_equal(heard, again) and len(heard) == len(clean) == len(wave)
    pairs = [degraded(wave, RATE, np.random.default_rng(seed)) for seed in range(80)]
    untouched = sum(heard is clean and clean is wave for heard, clean in pairs) / len(pairs)
    assert 0.25 < untouched < 0.6                                       # 0.75 ** 3 expected
