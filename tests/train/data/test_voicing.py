import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omni.errors import InputError
from omni.tokenizers.audio.voices import is_installed
from omni.train.data import voicing
from omni.train.data.items import LINES, PRESET, Item, Manifest
from omni.train.data.lines import line_items
from omni.train.data.voicing import PRESETS, Utterance, utterances, voice_data


def test_held_out_items_are_read_by_presets_alone_and_training_items_by_a_crowd_too() -> None:
    item = Item("stamps/a/b", "stamps", "train", {"en": "An owl.", "fr": "Un hibou.", "xx": "?"}, {}, (), (), "", "")
    said = utterances(item, ("en", "fr", "xx"), 0)
    assert [one.speaker.startswith(PRESET) for one in said] == [True, False, True, False]
    assert said == utterances(item, ("en", "fr", "xx"), 0) != utterances(item, ("en", "fr", "xx"), 1)
    assert all(one.speaker.startswith(PRESET) for one in utterances(replace(item, split="test"), ("en", "fr"), 0))
    assert utterances(replace(item, source="clipart"), ("en",), 0) == []


def test_a_message_is_read_once_by_the_crowd_and_only_if_it_is_words() -> None:
    def read(texts: dict[str, str], split: str = "train", name: str = "a") -> list[Utterance]:
        return utterances(Item(f"catalogues/{name}", "catalogues", split, texts, {}, (), (), "", ""), ("en", "fr"), 0)

    both = {"en": "Open the file", "fr": "Ouvrir le fichier"}
    seen = set()
    for name in "abcdefghijklmnop":
        said, *more = read({**both, "it": "Apri il file"}, name=name)
        assert said.text == both[said.language]
        assert not said.speaker.startswith(PRESET)
        assert [(one.language, one.text, one.speaker) for one in more] in ([], [("en", both["en"], f"{PRESET}clara")])
        assert not more or said.language == "fr"                        # no text is heard twice
        seen.add((said.language, len(more)))
    assert seen == {("en", 0), ("fr", 0), ("fr", 1)}
    assert read(both, "valid")
    assert read(both, "test") == []
    (said,) = read({"en": "Save %s as", "fr": "Enregistrer sous"})
    assert said.language == "fr"
    for text in ("Layer_2 of it", "<b>Bold</b> text", "File", "Zoom 100 %", "Ctrl+A is all", "so many words " * 6):
        assert read({"en": text}) == []


def test_every_preset_says_every_line_in_its_languages() -> None:
    for item in line_items(("en", "fr"))[::40]:
        said = utterances(item, ("en", "fr"), 0)
        for language in item.texts:
            names = {one.speaker for one in said if one.language == language and one.speaker.startswith(PRESET)}
            assert names == {PRESET + name for name in PRESETS if language == "en" or name != "clara"}
        assert all(voice.engine != "flite" for voice in (one.voice for one in said))


@pytest.mark.skipif(not is_installed("espeak-ng"), reason="needs espeak-ng")
def test_the_data_are_kept_and_gain_voices(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voicing, "line_items", lambda languages: line_items(languages)[:12])
    data = Manifest.load(prepared)
    voiced = voice_data(data, tmp_path / "voiced", ("fr",), unheard=["stamps/en"])
    stamps = voiced.of(source="stamps")
    assert len(stamps) == 2 * len(data)                                 # each English recording is an item of its own
    apart = [item for item in stamps if item.id.endswith("@en")]
    assert all(item.split == "test" and len(item.recordings) == 1 for item in apart)
    assert not [one for item in stamps if item not in apart for one in item.recordings if one.speaker == "stamps/en"]
    first = voiced.items[0]
    assert np.array_equal(voiced.wave(first.recordings[0]), data.wave(data.items[0].recordings[1]))
    assert set(voiced.voices) == {"lena", "oskar"}
    line = next(item for item in voiced.of(source=LINES) if item.id == "lines/number/7")
    assert all(np.abs(voiced.wave(one)).max() > 0.05 and one.length > 3000 for one in line.recordings)
    assert voice_data(data, tmp_path / "voiced", ("fr",), unheard=["stamps/en"]).fingerprint == voiced.fingerprint


def test_what_an_unheard_speaker_says_of_an_item_is_one_item(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voicing, "READ", {})
    monkeypatch.setattr(voicing, "line_items", lambda languages: [])
    data, name = Manifest.load(prepared), "stamps/both"
    both = tuple(replace(one, speaker=name) for one in data.items[0].recordings)
    data.items = (replace(data.items[0], recordings=both), *data.items[1:])
    assert len({one.language for one in both}) > 1
    voiced = voice_data(data, tmp_path / "voiced", ("fr",), unheard=[name])
    assert len({item.id for item in voiced.items}) == len(voiced.items) == len(data.items) + 1
    (apart,) = (item for item in voiced.items if item.id.endswith("@both"))
    assert apart.recordings == both and apart.split == "test"


def test_data_that_were_read_aloud_and_their_own_folder_are_refused(prepared: Path, tmp_path: Path) -> None:
    data = Manifest.load(prepared)
    with pytest.raises(InputError, match="the prepared data lie there; give another folder"):
        voice_data(data, prepared, ("en",))
    voiced = tmp_path / "voiced"
    shutil.copytree(prepared, voiced)
    about = json.loads((voiced / "manifest.json").read_text("utf-8"))
    (voiced / "manifest.json").write_text(json.dumps({**about, "voiced": {}}))
    with pytest.raises(InputError, match="has been read aloud already; give what `omni data prepare` wrote"):
        voice_data(Manifest.load(voiced), tmp_path / "again", ("en",))
    assert not (tmp_path / "again").exists()


def test_unknown_languages_and_speakers_are_refused(prepared: Path, tmp_path: Path) -> None:
    data = Manifest.load(prepared)
    with pytest.raises(InputError, match="no text in xx"):
        voice_data(data, tmp_path / "out", ("xx",))
    with pytest.raises(InputError, match="no speaker nobody; the data have stamps/en, stamps/fr"):
        voice_data(data, tmp_path / "out", ("en",), unheard=["nobody"])
