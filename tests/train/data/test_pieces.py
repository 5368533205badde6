"""What an interrupted `omni data prepare` keeps: pieces that read as they were parsed, and are not parsed again."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omni.files import sha256
from omni.train.data import prepare as module
from omni.train.data.engines import HERE, Engine
from omni.train.data.fetch import installed, read_specs
from omni.train.data.items import DATA_FILES
from omni.train.data.parse.base import Outcome, Package
from omni.train.data.pieces import parse_piece, pieces_of, read_piece
from omni.train.data.prepare import load_source, prepare


def plain(outcome: Outcome) -> Any:
    """An outcome in types that can be compared."""
    items = []
    for item in outcome.items:
        clips = [{**vars(clip), "samples": (clip.samples.dtype, clip.samples.tolist())} for clip in item.clips]
        pictures = [(picture.dtype, picture.tolist()) for picture in item.pictures]
        items.append({**vars(item), "pictures": pictures, "clips": clips})
    return items, dict(outcome.dropped)


@pytest.mark.parametrize("name", ["stamps", "prompts"])
def test_a_piece_reads_as_it_was_parsed(name: str, stamps_cache: Path, tmp_path: Path) -> None:
    source = load_source(name)
    packages = [package for spec in read_specs([name]) if (package := installed(spec, stamps_cache)) is not None]
    broken = next(stamps_cache.rglob("s03_desc_fr.wav"))
    broken.write_bytes(b"no sound")
    jobs = source.plan([Package(one.name, one.root, one.licence, one.attribution) for one in packages])
    pieces = pieces_of(source.parse, 16, jobs, tmp_path)
    read = [plain(outcome) for piece in pieces for outcome in read_piece(parse_piece(piece))]
    assert read == [plain(source.parse(job, 16)) for job in jobs] and len(read) == len(jobs)
    assert (name == "stamps") == any(dropped for _, dropped in read)


@pytest.mark.parametrize("count", [0, 1, 31, 64, 500, 2048, 5000])
def test_pieces_hold_every_job_once(count: int) -> None:
    pieces = pieces_of(lambda job, size: Outcome(), 16, range(count), Path())
    assert list(chain.from_iterable(piece.jobs for piece in pieces)) == list(range(count))
    assert len({piece.file for piece in pieces}) == len(pieces) >= min(count, 32)
    assert all(len(piece.jobs) <= 64 for piece in pieces)


class Stopping:
    """An engine that is interrupted behind its third piece."""

    def map(self, work: Any, jobs: Any) -> Iterator[Any]:
        for number, result in enumerate(HERE.map(work, jobs)):
            yield result
            if number == 2:
                raise KeyboardInterrupt


@contextmanager
def stopping(name: str, workers: int) -> Iterator[Engine]:
    yield Stopping()


def test_finished_pieces_are_taken_up(stamps_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = read_specs(["stamps", "prompts"])
    whole = prepare(specs, stamps_cache, tmp_path / "whole", 16, workers=1)
    for part in (stamps_cache / "parts").glob("*/part.json"):
        part.unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "open_engine", stopping)
        prepare(specs, stamps_cache, tmp_path / "cut", 16)
    kept = sorted((stamps_cache / "pieces" / "stamps").rglob("*.safetensors"))
    assert len(kept) == 3 and not (tmp_path / "cut").exists()
    before = [path.stat().st_mtime_ns for path in kept]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # once more, to look at the pieces
        patch.setattr(module, "open_engine", stopping)
        prepare(specs, stamps_cache, tmp_path / "cut", 16)
    assert [path.stat().st_mtime_ns for path in kept] == before
    cut = prepare(specs, stamps_cache, tmp_path / "cut", 16, workers=1)
    assert [sha256(cut.folder / name) for name in DATA_FILES] == [sha256(whole.folder / name) for name in DATA_FILES]
    assert not list((stamps_cache / "pieces").iterdir())
    assert np.array_equal(cut.picture(3), whole.picture(3))
