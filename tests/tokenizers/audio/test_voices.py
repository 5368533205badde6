import numpy as np
import pytest

from omni.errors import InputError
from omni.tokenizers.audio.voices import UNHEARD, Voice, is_installed, read_aloud

SPOKEN = ["ten meters; rm -rf --help", "A brown hen."]
needs = {name: pytest.mark.skipif(not is_installed(name), reason=f"needs {name}") for name in ("espeak-ng", "flite")}


def check(sounds: list[tuple[np.ndarray, int]]) -> None:
    long, short = (len(wave) / rate for wave, rate in sounds)
    assert long > 1.2 * short > 0.4
    assert all(wave.ndim == 1 and 0.05 < np.abs(wave).max() <= 1 for wave, _ in sounds)


@needs["flite"]
def test_flite_reads_what_it_is_given() -> None:
    sounds = read_aloud(SPOKEN, UNHEARD[0])
    assert {rate for _, rate in sounds} == {16000}
    check(sounds)
    with pytest.raises(InputError, match="flite has rms"):
        read_aloud(SPOKEN, Voice("flite", "nobody"))


@needs["espeak-ng"]
def test_espeak_speaks_many_languages_in_many_voices_and_again_alike() -> None:
    voice = Voice("espeak-ng", "f3", 150)
    check(read_aloud(SPOKEN, voice))
    french, russian = (read_aloud(["7"], voice, language)[0][0] for language in ("fr", "ru"))
    assert len(french) != len(russian)
    again = read_aloud(["7"], voice, "fr")[0][0]
    assert len(again) == len(french) and abs(again.std() / french.std() - 1) < 0.1  # its flutter differs
    slow, fast = (len(read_aloud(SPOKEN, Voice("espeak-ng", "m3", rate))[0][0]) for rate in (120, 180))
    assert slow > 1.2 * fast
    with pytest.raises(InputError, match="no voice xx\\+f3"):
        read_aloud(SPOKEN, voice, "xx")


@pytest.mark.skipif(not is_installed("festival"), reason="needs festival")
def test_festival_reads_quotes_and_parentheses() -> None:
    check(read_aloud([*SPOKEN[:1], 'A "hen" (brown).'], Voice("festival", "slt")))


def test_what_no_engine_can_do_is_refused() -> None:
    with pytest.raises(InputError, match="no engine 'nobody'; use one of espeak-ng"):
        read_aloud(SPOKEN, Voice("nobody", "x"))
    if is_installed("flite"):
        with pytest.raises(InputError, match="speaks English, not 'fr'"):
            read_aloud(SPOKEN, UNHEARD[0], "fr")
