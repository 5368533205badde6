from pathlib import Path

import numpy as np

from omni.train.data.items import SAMPLE_RATE, Manifest
from omni.train.data.retelling import PITCHES, RETOLD, Retold, retell_job, retellings


def test_training_items_are_told_again_in_the_languages_whose_text_is_known(prepared: Path) -> None:
    items = Manifest.load(prepared).items
    found = retellings(items, ("fr", "de"), 0)
    assert {row for row, _ in found} == {row for row, item in enumerate(items) if item.split == "train"}
    assert len(found) == RETOLD["stamps"] * sum(item.split == "train" for item in items)
    assert all(one.language == "fr" and PITCHES[0] <= one.pitch <= PITCHES[1] for _, one in found)
    assert found == retellings(items, ("fr", "de"), 0) != retellings(items, ("fr", "de"), 1)
    assert len({one.speaker for _, one in found}) == len(found)


def test_what_is_told_again_is_so_much_faster_and_higher(prepared: Path) -> None:
    data = Manifest.load(prepared)
    recording = data.items[0].recordings[0]
    for pitch in (0.84, 1.0, 1.19):
        ((row, one, wave),) = retell_job(prepared, [(7, Retold(recording, pitch))])
        assert row == 7 and one.licence == recording.licence
        assert abs(len(wave) * pitch / recording.length - 1) < 0.03
        highest = np.abs(np.fft.rfft(wave)).argmax() * SAMPLE_RATE / len(wave)
        assert abs(highest - 200 * pitch) < 3
