import numpy as np
import pytest

from omni.tokenizers.audio.recognizer import hearable, transcribe, word_errors
from omni.tokenizers.audio.voices import UNHEARD, is_installed, read_aloud

SAID = ("go forward ten meters", "a brown hen", "two green bottles", "turn to the left")


def test_word_errors_are_counted_by_hand() -> None:
    assert word_errors("A brown hen.", "a brown hen") == (0, 3)
    assert word_errors("a brown hen", "the brown hen house") == (2, 3)
    assert word_errors("a brown hen", "") == (3, 3)
    with pytest.raises(ValueError, match="no word"):
        word_errors("...", "a")


def test_only_sentences_of_known_words_can_be_heard() -> None:
    assert hearable(["A brown hen.", "a brown HEN", "a xanthia", "...", "Ten meters!"]) == ("a brown hen", "ten meters")


@pytest.mark.skipif(not is_installed("flite"), reason="needs flite")
def test_a_clear_voice_is_heard_and_noise_is_not() -> None:
    errors = {"open": 0, "closed": 0, "noise": 0}
    chance = np.random.default_rng(0)
    for said, (wave, _) in zip(SAID, read_aloud(SAID, UNHEARD[0]), strict=True):
        noise = 0.1 * chance.standard_normal(len(wave)).astype(np.float32)
        errors["open"] += word_errors(said, transcribe(wave))[0]
        errors["closed"] += word_errors(said, transcribe(wave, hearable(SAID)))[0]
        errors["noise"] += word_errors(said, transcribe(noise, hearable(SAID)))[0]
    assert errors["closed"] == 0 <= errors["open"] <= 7 < errors["noise"]          # of 14 words
