"""From packages to a data folder and back: order, resumption, damage, and the command itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from omni.cli import main
from omni.errors import InputError
from omni.files import sha256, write_json
from omni.tokenizers.text import TextTokenizer
from omni.train.data.fetch import PackageSpec, read_specs
from omni.train.data.items import DATA_FILES, Manifest, Recording
from omni.train.data.parse import prompts, stamps
from omni.train.data.prepare import prepare


def put(cache: Path, spec: PackageSpec) -> Path:
    """A folder that counts as the extracted package, to be filled before `seal`."""
    root = cache / "packages" / spec.name
    root.mkdir(parents=True)
    return root


def seal(root: Path, spec: PackageSpec) -> None:
    files = [path for path in root.rglob("*") if path.is_file()]
    tree = [len(files), sum(path.stat().st_size for path in files)]
    write_json(root / "receipt.json", {"asked": spec.sha256, "sha256": spec.sha256, "tree": tree})


@pytest.fixture(name="cache")
def small_cache(tmp_path: Path) -> Path:
    """Twelve stamps with a spoken caption each, and two prompts in English; the other prompt packages are empty."""
    cache = tmp_path / "cache"
    for spec in read_specs(["stamps", "prompts"]):
        root = put(cache, spec)
        folder = root / (stamps.STAMPS if spec.source == "stamps" else prompts.SOUNDS)
        folder.mkdir(parents=True)
        if spec.source == "stamps":
            for index in range(12):
                Image.new("RGB", (20, 10), (20 * index, 100, 50)).save(folder / f"s{index:02}.png")
                (folder / f"s{index:02}.txt").write_text(f"Thing {index}.\nfr.utf8=Chose {index}.\n")
                write_tone(folder / f"s{index:02}_desc_fr.wav", 200 + 20 * index)
        elif "-en-" in spec.name:
            (folder / "en_US_f_Allison/digits").mkdir(parents=True)
            write_tone(folder / "en_US_f_Allison/digits/7.wav", 700)
            write_tone(folder / "en_US_f_Allison/digits/8.wav", 800)
        seal(root, spec)
    return cache


def write_tone(path: Path, frequency: float) -> None:
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * frequency * np.arange(4000) / 8000), 8000)


def test_items_pictures_and_waves_belong_together(cache: Path, tmp_path: Path) -> None:
    manifest = prepare(read_specs(["stamps", "prompts"]), cache, tmp_path / "data", 16, workers=1)
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


def test_the_number_of_workers_changes_nothing(cache: Path, tmp_path: Path) -> None:
    specs = read_specs(["stamps", "prompts"])
    first = prepare(specs, cache, tmp_path / "one", 16, workers=1)
    for part in (cache / "parts").glob("*/part.json"):
        part.unlink()
    second = prepare(specs, cache, tmp_path / "two", 16, workers=2)
    assert first.fingerprint == second.fingerprint
    for name in (*DATA_FILES, "manifest.json"):
        assert sha256(first.folder / name) == sha256(second.folder / name)


def test_finished_parts_are_kept_and_made_anew_when_inputs_change(cache: Path, tmp_path: Path) -> None:
    specs = read_specs(["stamps"])
    prepare(specs, cache, tmp_path / "data", 16, workers=1)
    part = cache / "parts/stamps/part.json"
    before = part.stat().st_mtime_ns
    (tmp_path / "data/audio.npy").unlink()  # as if stopped before the end
    prepare(specs, cache, tmp_path / "data", 16, workers=1)
    assert part.stat().st_mtime_ns == before
    larger = prepare(specs, cache, tmp_path / "data", 24, workers=1)
    assert part.stat().st_mtime_ns != before
    assert larger.picture(0).shape == (24, 24, 3)


def test_a_missing_package_is_named_with_its_mend(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ktuberling-data: not whole in .*omni data fetch --only words"):
        prepare(read_specs(["words"]), cache, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("harm", ["cut audio", "flip items", "old version", "no manifest", "not json"])
def test_a_damaged_folder_is_refused_in_one_line(cache: Path, tmp_path: Path, harm: str) -> None:
    folder = prepare(read_specs(["stamps"]), cache, tmp_path / "data", 16, workers=1).folder
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


def test_the_command_prepares_and_shows(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    flags = ["--cache", str(cache), "--out", str(out), "--picture-size", "16"]
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
