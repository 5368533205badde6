"""From packages to a data folder and back: order, resumption, damage, and the command itself."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omni.cli import main
from omni.errors import InputError
from omni.files import sha256, write_json
from omni.tokenizers.text import TextTokenizer
from omni.train.data.fetch import read_specs
from omni.train.data.items import DATA_FILES, Manifest, Recording
from omni.train.data.prepare import prepare


def test_items_pictures_and_waves_belong_together(stamps_cache: Path, tmp_path: Path) -> None:
    manifest = prepare(read_specs(["stamps", "prompts"]), stamps_cache, tmp_path / "data", 16, workers=1)
    assert [item.id for item in manifest] == [f"stamps/s{i:02}" for i in range(12)] + [
        "prompts/digits/7",
        "prompts/digits/8",
    ]
    for index, item in enumerate(manifest.of(source="stamps")):
        assert item.texts == {"en": f"Thing {index}.", "fr": f"Chose {index}."}
        assert tuple(manifest.picture(item.pictures[0])[8, 8]) == (20 * index, 100, 50)
        (recording,) = item.recordings
        wave = manifest.wave(recording)
        peak = np.argmax(np.abs(np.fft.rfft(wave))) * manifest.sample_rate / len(wave)
        assert peak == pytest.approx(200 + 20 * index, abs=3)
    assert sum(len(manifest.of(split=split)) for split in ("train", "valid", "test")) == len(manifest) == 14
    assert manifest.picture(0).dtype == np.uint8 and manifest.wave(Recording(0, 5, None, "effect", None, "")).shape == (
        5,
    )


def test_the_number_of_workers_changes_nothing(stamps_cache: Path, tmp_path: Path) -> None:
    specs = read_specs(["stamps", "prompts"])
    first = prepare(specs, stamps_cache, tmp_path / "one", 16, workers=1)
    for part in (stamps_cache / "parts").glob("*/part.json"):
        part.unlink()
    second = prepare(specs, stamps_cache, tmp_path / "two", 16, workers=2)
    assert first.fingerprint == second.fingerprint
    for name in (*DATA_FILES, "manifest.json"):
        assert sha256(first.folder / name) == sha256(second.folder / name)


def test_finished_parts_are_kept_and_made_anew_when_inputs_change(stamps_cache: Path, tmp_path: Path) -> None:
    specs = read_specs(["stamps"])
    prepare(specs, stamps_cache, tmp_path / "data", 16, workers=1)
    part = stamps_cache / "parts/stamps/part.json"
    before = part.stat().st_mtime_ns
    (tmp_path / "data/audio.npy").unlink()  # as if stopped before the end
    prepare(specs, stamps_cache, tmp_path / "data", 16, workers=1)
    assert part.stat().st_mtime_ns == before
    larger = prepare(specs, stamps_cache, tmp_path / "data", 24, workers=1)
    assert part.stat().st_mtime_ns != before
    assert larger.picture(0).shape == (24, 24, 3)


def test_a_missing_package_is_named_with_its_mend(stamps_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ktuberling-data: not whole in .*omni data fetch --only words"):
        prepare(read_specs(["words"]), stamps_cache, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("harm", ["cut audio", "flip items", "old version", "no manifest", "not json"])
def test_a_damaged_folder_is_refused_in_one_line(stamps_cache: Path, tmp_path: Path, harm: str) -> None:
    folder = prepare(read_specs(["stamps"]), stamps_cache, tmp_path / "data", 16, workers=1).folder
    about = folder / "manifest.json"
    if harm == "cut audio":
        (folder / "audio.npy").write_bytes((folder / "audio.npy").read_bytes()[:-2])
    elif harm == "flip items":
        (folder / "items.jsonl").write_text((folder / "items.jsonl").read_text().replace("Thing 3", "Thing 4"))
    elif harm == "old version":
        write_json(about, {**json.loads(about.read_text()), "version": 0})
    elif harm == "no manifest":
        about.unlink()
    else:
        about.write_text('{"version": ')
    with pytest.raises(InputError) as error:
        Manifest.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_the_command_prepares_and_shows(stamps_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    flags = ["--cache", str(stamps_cache), "--out", str(out), "--picture-size", "16"]
    assert main(["data", "prepare", "--only", "stamps", "prompts", *flags]) == 0
    assert f"14 items in {out}" in capsys.readouterr().out
    assert main(["data", "show", "--data", str(out), "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    figures = json.loads(printed[-1])["figures"]
    TextTokenizer.train(["Thing", "Chose"] * 9, 300).save(tmp_path / "text")
    assert main(["data", "show", "--data", str(out), "--tokenizer", str(tmp_path / "text"), "--json"]) == 0
    counted = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert 0 < counted["text_tokens"]["value"] < figures["text_bytes"]["value"]
    assert figures["items"]["value"] == 14 and figures["pictures"]["value"] == 12
    assert figures["speech_hours"]["value"] == pytest.approx(14 * 0.5 / 3600, rel=0.1)
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width > 16 and sheet.height > 16


@pytest.mark.parametrize(
    "words", [["show", "--data", "no-such-folder"], ["prepare", "--only", "stanps"], ["prepare", "--picture-size", "0"]]
)
def test_bad_input_exits_with_2_and_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = [] if words[0] == "show" else ["--cache", str(tmp_path), "--out", str(tmp_path / "data")]
    assert main(["data", *words, *cache]) == 2
    error = capsys.readouterr().err
    assert error.startswith("omni: ") and error.count("\n") == 1


@pytest.mark.parametrize("whose", ["the sheet's", "another's"])
def test_a_sheet_that_cannot_be_written_is_told_and_any_other_failure_is_one(
    whose: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(prepared, tmp_path / "data")
    show = ["data", "show", "--data", str(tmp_path / "data")]

    def refused(*_: object, prefix: str, dir: Path) -> str:             # whoever runs as root may write everywhere
        place = dir / prefix if whose == "the sheet's" else tmp_path / "elsewhere"
        raise OSError(errno.EROFS, "Read-only file system", str(place))

    monkeypatch.setattr("omni.files.tempfile.mkdtemp", refused)
    assert main(show) == (0 if whose == "the sheet's" else 2)
    told = "contact sheet: none, since it cannot be written (Read-only file system)"
    assert (told in capsys.readouterr().out) is (whose == "the sheet's")
