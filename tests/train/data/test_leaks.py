"""No picture, caption, translation or recording of a held-out item is trained on: checked on the real data."""

import hashlib
import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from omni.train.data.items import SPLITS, Manifest

FOLDER = Path(os.environ.get("OMNI_DATA", "runs/data"))


@pytest.fixture(name="manifest", scope="module")
def real_data() -> Manifest:
    if not (FOLDER / "manifest.json").is_file():
        pytest.skip(f"no prepared data in {FOLDER} (run `omni data prepare`, or set OMNI_DATA)")
    return Manifest.load(FOLDER)


def plain(text: str) -> str:
    """A second, simpler notion of equal text: ASCII letters and digits, no article."""
    return re.sub(r"^(an?|the) ", "", " ".join(re.findall(r"[a-z0-9]+", text.lower())))


def test_no_english_caption_is_in_two_splits(manifest: Manifest) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for item in manifest:
        text = item.texts.get("en", "")
        if text.isascii() and plain(text):
            places[plain(text)].add(item.split)
    assert [text for text, splits in places.items() if len(splits) > 1] == []


def test_no_longer_text_of_any_language_is_in_two_splits(manifest: Manifest) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for item in manifest:
        for text in item.texts.values():
            if len(text) > 12:
                places[text].add(item.split)
    assert [text for text, splits in places.items() if len(splits) > 1] == []


def test_no_picture_and_no_recording_is_in_two_splits(manifest: Manifest) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for item in manifest:
        shown = [manifest.picture(row).tobytes() for row in item.pictures]
        heard = [manifest.wave(recording).tobytes() for recording in item.recordings]
        for data in (*shown, *heard):
            places[hashlib.sha256(data).hexdigest()].add(item.split)
    assert all(len(splits) == 1 for splits in places.values())


def test_every_split_has_stamps_to_look_at(manifest: Manifest) -> None:
    for split in SPLITS:
        assert len(manifest.of(split=split, source="stamps")) >= 40
