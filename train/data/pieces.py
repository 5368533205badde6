"""Parsed jobs on disk, some a piece, until a source is whole: what an interrupted `omni data prepare` takes up."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from omni.files import atomic_path
from omni.train.data.parse.base import Clip, Outcome, Parsed

MOST_JOBS = 64                                                          # of a piece: a second or two of work
FEWEST_PIECES = 32                                                      # where there are so many jobs, for many workers


@dataclass(frozen=True)
class Piece:
    """Some jobs of a source in a row, whose outcomes lie in `file` once a worker has parsed them."""

    parse: Callable[[Any, int], Outcome]
    picture_size: int
    jobs: tuple[Any, ...]
    file: Path


def pieces_of(
    parse: Callable[[Any, int], Outcome], picture_size: int, jobs: Sequence[Any], folder: Path
) -> list[Piece]:
    """All jobs in pieces, cut in the same places whoever parses them."""
    size = max(1, min(MOST_JOBS, len(jobs) // FEWEST_PIECES))
    starts = range(0, len(jobs), size)
    return [
        Piece(parse, picture_size, tuple(jobs[start : start + size]), folder / f"{number:06}.safetensors")
        for number, start in enumerate(starts)
    ]


def parse_piece(piece: Piece) -> Path:
    """Parse a piece, unless it is there already; returns its file."""
    if not piece.file.exists():
        write_piece(piece.file, [piece.parse(job, piece.picture_size) for job in piece.jobs], piece.picture_size)
    return piece.file


def write_piece(file: Path, outcomes: Iterable[Outcome], picture_size: int) -> None:
    """Outcomes as two arrays end to end, pictures [n, size, size, 3] and samples [n], and the rest as JSON."""
    pictures: list[np.ndarray] = []
    samples, about = [np.zeros(0, np.int16)], []
    for outcome in outcomes:
        items = []
        for item in outcome.items:
            pictures += item.pictures
            samples += [clip.samples for clip in item.clips]
            clips = [{**vars(clip), "samples": len(clip.samples)} for clip in item.clips]
            items.append({**vars(item), "pictures": len(item.pictures), "clips": clips})
        about.append({"items": items, "dropped": outcome.dropped})
    shown = np.stack(pictures) if pictures else np.zeros((0, picture_size, picture_size, 3), np.uint8)
    with atomic_path(file) as scratch:
        arrays = {"pictures": shown, "samples": np.concatenate(samples)}
        save_file(arrays, scratch, {"outcomes": json.dumps(about, ensure_ascii=False)})


def read_piece(file: Path) -> Iterator[Outcome]:
    """The outcomes of a piece as they were written."""
    with safe_open(file, "numpy") as opened:
        pictures, samples = opened.get_tensor("pictures"), opened.get_tensor("samples")
        about = json.loads(opened.metadata()["outcomes"])
    row = start = 0
    for outcome in about:
        items = []
        for fields in outcome["items"]:
            clips, count = [], fields["pictures"]
            for clip in fields["clips"]:
                clips.append(Clip(**{**clip, "samples": samples[start : start + clip["samples"]]}))
                start += clip["samples"]
            items.append(Parsed(**{**fields, "pictures": list(pictures[row : row + count]), "clips": clips}))
            row += count
        yield Outcome(items, Counter(outcome["dropped"]))
