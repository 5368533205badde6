"""Which frame rate and codebook? Equal short trainings of every pair, and classical codecs, in one table and plot."""

import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from omni.drawing import drawing
from omni.errors import InputError
from omni.figures import Report
from omni.files import read_json, write_json, write_text
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.metrics import Clip, Wave, compare, compare_words, evaluate, resample
from omni.tokenizers.audio.recognizer import RATE, Sentences
from omni.tokenizers.audio.training import train_codec

RATES = (12.5, 25.0, 50.0)                                              # frames a second
LEVELS = ((8, 5, 5, 5), (8, 8, 8, 8), (8, 8, 8, 6, 5))                  # 1,000, 4,096 and 15,360 codes
CODEC2_MODES = (1200, 2400, 3200)                                       # bit/s
TICKS = (100, 200, 500, 1000, 2000, 5000)                               # of the plot, bit/s
COLUMNS = (
    *("bits_per_second", "stoi", "pesq", "dnsmos", "log_stft_distance"),
    *("wer_decoded_minus_original", "wer_unheard_decoded_minus_original"),
)


def sweep(
    waves: Sequence[NDArray[np.float32]],
    clips: Sequence[Clip],
    out: Path | str,
    *,
    steps: int,
    sentences: Sentences = (),
    unheard: Sequence[Clip] = (),
    base: CodecConfig | None = None,
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """Train a codec for every pair of RATES and LEVELS, score each and the classical codecs on `clips`
    and, for word errors, on `unheard` (see `evaluate`).

    Writes sweep.json, sweep.md and sweep.png in `out` and returns the rows. Everything finished is kept: called again,
    it goes on at the cell, and inside the training, where it was stopped.
    """
    out, base = Path(out), base or CodecConfig.preset("quick")
    if not clips:
        raise InputError("codec sweep: there are no clips to measure on; give at least one")
    rows = []
    for rate in RATES:
        for levels in LEVELS:
            name = f"{rate:g} Hz x {math.prod(levels)}"
            folder = out / name.replace(" ", "")
            config = replace(base, frame_rate=rate, levels=levels)

            def ours(config: CodecConfig = config, folder: Path = folder) -> Report:
                codec = train_codec(waves, config, folder, steps=steps, threads=threads)
                return evaluate(codec, clips, sentences, unheard)

            rows.append(_row(name, out / "cells", ours))
    for name, bits, coded in _classical():

        def theirs(bits: float = bits, coded: Callable[[Wave], Wave] = coded, name: str = name) -> Report:
            report = Report("codec sweep")
            report.add("bits_per_second", bits, "bit/s")
            compare(clips, coded, sentences, name).add_to(report)
            compare_words(unheard, coded, sentences).add_words_to(report, "wer_unheard")
            return report

        rows.append(_row(name, out / "cells", theirs))
    write_json(out / "sweep.json", {"steps": steps, "clips": len(clips), "rows": rows})
    write_text(out / "sweep.md", table(rows))
    plot(rows, out / "sweep.png")
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    heads = ("codec", "bit/s", "STOI", "PESQ", "DNSMOS", "log-STFT dB", "word error over original's", "in new voices")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        values = [row["figures"][column] for column in COLUMNS]
        cells = ["" if figure["value"] is None else f"{figure['value']:.4g}" for figure in values]
        lines.append("| " + " | ".join([row["name"], *cells]) + " |")
    return "\n".join(lines) + "\n"


PANELS = {
    "stoi": ("STOI", "similarity of the envelopes"),
    "wer_unheard_decoded_minus_original": ("word error over the original's", "intelligibility in new voices"),
}


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """STOI and word errors against bits a second, ours by frame rate, with 95 % intervals."""
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["name"].split(" x ")[0].split(" at ")[0], []).append(row["figures"])
    with drawing(path, 11, 4.2) as figure:
        for axes, (measure, (label, title)) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            for name, members in families.items():
                _curve(axes, name, [member for member in members if member[measure]["value"] is not None], measure)
            axes.set(xscale="log", xlabel="bits per second", ylabel=label, title=title)
            axes.set_xticks(TICKS, labels=[str(tick) for tick in TICKS])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        axes.legend()


def _curve(axes: Any, name: str, members: Sequence[dict[str, Any]], measure: str) -> None:
    bits = [member["bits_per_second"]["value"] for member in members]
    means, low, high = (
        np.array([member[measure][end] for member in members], dtype=float) for end in ("value", "low", "high")
    )
    axes.errorbar(bits, means, yerr=(means - low, high - means), marker="o", ms=4, capsize=3, label=name)


def _row(name: str, folder: Path, measure: Callable[[], Report]) -> dict[str, Any]:
    """The cell's figures, measured now or read from the last time."""
    path = folder / f"{name.replace(' ', '')}.json"
    if not path.exists():
        write_json(path, {"name": name, "figures": json.loads(measure().json())["figures"]})
    return dict(read_json(path))


def _classical() -> list[tuple[str, float, Callable[[Wave], Wave]]]:
    """Opus at its lowest and Codec2, where their programs are installed (opus-tools and codec2)."""
    found: list[tuple[str, float, Callable[[Wave], Wave]]] = []
    if shutil.which("opusenc") and shutil.which("opusdec"):
        found.append(("Opus at 6000", 6000.0, _opus))
    if shutil.which("c2enc") and shutil.which("c2dec"):
        found += [(f"Codec2 at {mode}", float(mode), _codec2_at(mode)) for mode in CODEC2_MODES]
    return found


def _opus(wave: Wave) -> Wave:
    """Through opusenc at 6 kbit/s and back. The bits of the Ogg container are not counted."""
    with tempfile.TemporaryDirectory() as scratch:
        source, coded, back = (Path(scratch) / name for name in ("in.wav", "coded.opus", "out.wav"))
        soundfile.write(source, wave, RATE)
        _run("opusenc", "--quiet", "--bitrate", "6", "--speech", str(source), str(coded))
        _run("opusdec", "--quiet", "--rate", str(RATE), str(coded), str(back))
        decoded, _ = soundfile.read(back, dtype="float32")
    return np.asarray(decoded, dtype=np.float32)


def _codec2_at(mode: int) -> Callable[[Wave], Wave]:
    def coded(wave: Wave) -> Wave:
        """Through c2enc and c2dec, which speak 8 kHz; the 40 ms they may add at the end are cut by the caller."""
        with tempfile.TemporaryDirectory() as scratch:
            source, bits, back = (Path(scratch) / name for name in ("in.raw", "bits", "out.raw"))
            padded = np.concatenate((wave, np.zeros(RATE // 20, dtype=np.float32))).astype(np.float32)
            (resample(padded, RATE, 8000).clip(-1, 1) * 32767).astype("<i2").tofile(source)
            _run("c2enc", str(mode), str(source), str(bits))
            _run("c2dec", str(mode), str(bits), str(back))
            samples = (np.fromfile(back, "<i2") / 32768).astype(np.float32)
        return resample(samples, 8000, RATE)

    return coded


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{words[0]} failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
