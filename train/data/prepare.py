"""`omni data prepare`: from fetched packages to one folder of items, pictures and audio.

Each source is parsed by all hands of an engine, a piece at a time, into a part that is kept in the cache; the parts are
then split and laid end to end. The result is a pure function of the packages, the parsers' code and the picture size,
whatever the engine and the number of workers.
"""

import hashlib
import importlib
import shutil
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256
from omni.train.data.engines import Engine, in_order, open_engine
from omni.train.data.fetch import PackageSpec, installed, package_sha256
from omni.train.data.items import FORMAT_VERSION, SAMPLE_RATE, SOURCES, Item, Manifest, Recording, seal
from omni.train.data.parse import base
from omni.train.data.parse.base import Outcome, Package, Source
from omni.train.data.parts import Part, finished, write_part
from omni.train.data.pieces import parse_piece, pieces_of, read_piece
from omni.train.data.splits import Facts, assign

DEFAULT_PICTURE_SIZE = 64
PARSE_FOLDER = Path(base.__file__).parent


def prepare(
    specs: Sequence[PackageSpec],
    cache: Path,
    out: Path,
    picture_size: int = DEFAULT_PICTURE_SIZE,
    workers: int = 0,
    engine: str = "local",
) -> Manifest:
    """Parse what `specs` name and write the data folder `out`; `engine` and `workers` are those of `open_engine`.

    Sources whose inputs are as they were are not parsed again, nor are the pieces that an interrupted run has finished.
    Raises InputError when a package is not in the cache.
    """
    if not 8 <= picture_size <= 512:
        raise InputError(f"--picture-size {picture_size}: must lie in 8..512")
    cache = cache.resolve()                                             # a worker may run in another folder
    wanted = [source for source in SOURCES if any(spec.source == source for spec in specs)]
    packages = {source: _packages(specs, source, cache) for source in wanted}
    part_keys = {source: _key(specs, source, cache, picture_size) for source in wanted}
    if _up_to_date(out, part_keys):
        return Manifest.load(out)
    parts = {source: finished(cache, source, part_keys[source]) for source in wanted}
    missing = [source for source, part in parts.items() if part is None]
    if missing:
        with open_engine(engine, workers) as hands:
            for source in missing:
                pieces = cache / "pieces" / source
                outcomes = parse(load_source(source), packages[source], picture_size, pieces / part_keys[source], hands)
                parts[source] = write_part(cache, source, part_keys[source], outcomes)
                shutil.rmtree(pieces, ignore_errors=True)
    assemble([part for part in parts.values() if part], out, picture_size, part_keys)
    return Manifest.load(out)


def load_source(name: str) -> Source:
    """The parser of a source: `SOURCE` of the module of that name."""
    source: Source = importlib.import_module(f"omni.train.data.parse.{name}").SOURCE
    return source


def parse(
    source: Source, packages: list[Package], picture_size: int, folder: Path, engine: Engine
) -> Iterable[Outcome]:
    """Outcomes in the order of the plan, behind a progress bar; finished pieces stay in `folder`."""
    pieces = pieces_of(source.parse, picture_size, source.plan(packages), folder)
    files = in_order(engine, parse_piece, pieces, (len(piece.jobs) for piece in pieces), source.name)
    return source.combine(chain.from_iterable(map(read_piece, files)))


def assemble(parts: Sequence[Part], out: Path, picture_size: int, part_keys: dict[str, str]) -> None:
    """Split all items at once and write the data folder; it appears only when it is whole."""
    rows = [(part, fields) for part in parts for fields in part.items()]
    if not rows:
        raise InputError("the sources hold no usable item; fetch them again")
    split = assign([Facts(fields["id"], fields["texts"], fields["joins"]) for _, fields in rows])
    with atomic_path(out) as folder:
        folder.mkdir()
        with (folder / "items.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
            offsets = _offsets(parts)
            for (part, fields), name in zip(rows, split.of, strict=True):
                lines.write(_item(part, fields, name, offsets[part.source]).to_json() + "\n")
        _join(parts, "pictures.bin", folder / "pictures.npy", np.dtype(np.uint8), (picture_size, picture_size, 3))
        _join(parts, "audio.bin", folder / "audio.npy", np.dtype("<i2"), ())
        about = {
            "version": FORMAT_VERSION,
            "sample_rate": SAMPLE_RATE,
            "picture_size": picture_size,
            "items": len(rows),
            "pictures": sum(part.pictures for part in parts),
            "samples": sum(part.samples for part in parts),
            "largest_groups": split.group_sizes[:10],
            "dropped": {part.source: part.dropped for part in parts},
            "inputs": part_keys,
        }
        seal(folder, about)


def _packages(specs: Iterable[PackageSpec], source: str, cache: Path) -> list[Package]:
    found = []
    for spec in specs:
        if spec.source == source:
            package = installed(spec, cache)
            if package is None:
                raise InputError(f"{spec.name}: not whole in {cache}; run `omni data fetch --only {source}` first")
            found.append(package)
    return found


def _key(specs: Sequence[PackageSpec], source: str, cache: Path, picture_size: int) -> str:
    """A hash over all that a part depends on: packages, licences, picture size and the code that parses it."""
    code = sorted(PARSE_FOLDER.glob("*.py")) if source in SOURCES else []
    mine = [spec for spec in specs if spec.source == source]
    inputs = [(spec.name, package_sha256(spec, cache), spec.licence, spec.attribution) for spec in mine]
    facts = repr((inputs, picture_size, [sha256(path) for path in code if _concerns(path, source)]))
    return hashlib.sha256(facts.encode()).hexdigest()


def _concerns(path: Path, source: str) -> bool:
    """Whether a parser file can change a source: its own module and those that all share, not the other sources'."""
    return path.stem == source or path.stem not in SOURCES


def _up_to_date(out: Path, part_keys: dict[str, str]) -> bool:
    try:
        return bool(read_json(out / "manifest.json").get("inputs") == part_keys and Manifest.load(out))
    except InputError:
        return False


def _offsets(parts: Sequence[Part]) -> dict[str, tuple[int, int]]:
    """(first picture row, first sample) of each part in the joined arrays."""
    offsets, row, start = {}, 0, 0
    for part in parts:
        offsets[part.source] = (row, start)
        row, start = row + part.pictures, start + part.samples
    return offsets


def _item(part: Part, fields: dict[str, Any], split: str, offset: tuple[int, int]) -> Item:
    row, start = offset
    return Item(
        id=fields["id"],
        source=part.source,
        split=split,
        texts=fields["texts"],
        keywords=fields["keywords"],
        pictures=tuple(row + picture for picture in fields["pictures"]),
        recordings=tuple(Recording(**{**clip, "start": start + clip["start"]}) for clip in fields["recordings"]),
        licence=fields["licence"],
        attribution=fields["attribution"],
    )


def _join(parts: Sequence[Part], name: str, target: Path, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> None:
    """Lay the parts' arrays end to end as one .npy: [rows, *shape]."""
    files = [part.folder / name for part in parts]
    rows = sum(file.stat().st_size for file in files) // (dtype.itemsize * int(np.prod(shape)))
    with target.open("wb") as out:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, *shape)}
        np.lib.format.write_array_header_1_0(out, header)
        for file in files:
            with file.open("rb") as data:
                while block := data.read(1 << 22):
                    out.write(block)
