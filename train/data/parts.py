"""One source's items on disk before the split: what `omni data prepare` keeps and takes up again."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json
from omni.train.data.items import Recording
from omni.train.data.parse.base import Outcome, Parsed


@dataclass(frozen=True)
class Part:
    """A finished part: items.jsonl, pictures.bin (uint8) and audio.bin (int16), rows and samples counted from 0."""

    folder: Path
    source: str
    pictures: int
    samples: int
    dropped: dict[str, int]

    def items(self) -> list[dict[str, Any]]:
        """The items as fields of `Item` without `source` and `split`, and with `joins`."""
        with (self.folder / "items.jsonl").open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def part_folder(cache: Path, source: str) -> Path:
    return cache / "parts" / source


def finished(cache: Path, source: str, key: str) -> Part | None:
    """The part of a source, if it was made from the inputs that `key` stands for."""
    folder = part_folder(cache, source)
    try:
        about = read_json(folder / "part.json")
    except InputError:
        return None
    files = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != "part.json"}
    if about.get("key") != key or about.get("bytes") != files:
        return None
    return Part(folder, source, about["pictures"], about["samples"], about["dropped"])


def write_part(cache: Path, source: str, key: str, outcomes: Iterable[Outcome]) -> Part:
    """Write outcomes as they come; the folder appears only when the last one is there."""
    dropped: Counter[str] = Counter()
    rows = samples = 0
    with atomic_path(part_folder(cache, source)) as folder:
        folder.mkdir()
        with (
            (folder / "items.jsonl").open("w", encoding="utf-8") as lines,
            (folder / "pictures.bin").open("wb") as pictures,
            (folder / "audio.bin").open("wb") as audio,
        ):
            for outcome in outcomes:
                dropped.update(outcome.dropped)
                for item in outcome.items:
                    fields = _fields(item, rows, samples)
                    lines.write(json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n")
                    for picture in item.pictures:
                        pictures.write(picture.tobytes())
                    for clip in item.clips:
                        audio.write(clip.samples.astype("<i2").tobytes())
                    rows += len(item.pictures)
                    samples += sum(len(clip.samples) for clip in item.clips)
        files = {path.name: path.stat().st_size for path in folder.iterdir()}
        reasons = dict(sorted(dropped.items()))
        about = {"key": key, "pictures": rows, "samples": samples, "dropped": reasons, "bytes": files}
        write_json(folder / "part.json", about)
    return Part(part_folder(cache, source), source, rows, samples, reasons)


def _fields(item: Parsed, row: int, start: int) -> dict[str, Any]:
    recordings = []
    for clip in item.clips:
        recording = Recording(start, len(clip.samples), clip.language, clip.kind, clip.speaker, clip.licence)
        recordings.append(vars(recording))
        start += len(clip.samples)
    return {
        "id": item.id,
        "texts": item.texts,
        "keywords": item.keywords,
        "pictures": list(range(row, row + len(item.pictures))),
        "recordings": recordings,
        "licence": item.licence,
        "attribution": item.attribution,
        "joins": item.all_joins(),
    }
