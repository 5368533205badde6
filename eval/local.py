"""A user's own JSONL or Parquet: its rows, and the recordings and pictures that they name, read when they are asked."""

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai.model import Content

from omni.errors import InputError
from omni.eval.inspected.messages import picture, sound
from omni.tokenizers.audio.wavefile import read_open_wave, read_wave

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

SUFFIXES = (".jsonl", ".parquet")
LARGE = ("audio", "image")                                              # columns of files
SPEECH_RATE = 16_000                                                    # hertz, of sounds that are handed over
LONGEST = 120.0                                                         # seconds of one
PIXELS = 256                                                            # of a side of pictures


@dataclass(frozen=True)
class Filed:
    """A recording (`audio`) or picture (`image`) that is read and decoded when it is asked: few of a large set are.

    source: a path, what the file holds, or how to come by either; where: the record, for errors
    """

    kind: str
    source: "Path | bytes | Callable[[], Path | bytes]"
    where: str

    def __call__(self) -> Content:
        """Raises InputError for what cannot be read."""
        source = self.source() if callable(self.source) else self.source
        return _sound(source, self.where) if self.kind == "audio" else _picture(source, self.where)


def filed(kind: str, value: Any, beside: Path, where: str) -> Filed:
    """A file's name, beside the records, or the content that Hugging Face's Parquet holds as {"bytes", "path"}.

    Raises InputError for anything else, and where there is no such file.
    """
    if isinstance(value, _Cell):
        return Filed(kind, lambda: _found(value.read(), beside, where), where)
    return Filed(kind, _found(value, beside, where), where)


def several(value: Any) -> list[Any]:
    """The files of a field: none, one, or a list of them in the order in which they are shown."""
    return value if isinstance(value, list) else [] if value is None else [value]


def rows(path: Path) -> Iterator[Any]:
    """What each record holds: an object, or what is wrong with a line that is no JSON.

    Raises InputError for what is no file of either kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".parquet":
        yield from _table_rows(path)
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    yield str(error)


def beside(path: Path) -> set[Path]:
    """The files that the records of a file name, as far as they are there."""
    held = [one for row in rows(path) if isinstance(row, dict) for kind in LARGE for one in several(row.get(kind))]
    names = {name for one in held if (name := _name(one))}
    return {file for name in names if (file := path.parent / name).is_file()}


class _Table:
    """A Parquet file whose columns of files are read by groups of rows, the last of which is kept."""

    def __init__(self, file: "ParquetFile") -> None:
        self.file = file
        self._kept: tuple[tuple[int, str], Any] | None = None

    def cell(self, group: int, column: str, number: int) -> Any:
        if self._kept is None or self._kept[0] != (group, column):
            self._kept = (group, column), self.file.read_row_group(group, columns=[column]).column(column)
        return self._kept[1][number].as_py()


@dataclass(frozen=True)
class _Cell:
    table: _Table
    group: int
    column: str
    number: int
    path: str | None                                                    # of the file, which may be beside the table

    def read(self) -> Any:
        return self.table.cell(self.group, self.column, self.number)


def _table_rows(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        table, columns = _Table(file), []
        large = [one.name for one in file.schema_arrow if one.name in LARGE and _holds_files(one.type)]
        for name in file.schema_arrow.names:
            columns.append(f"{name}.path" if name in large else name)   # which tells where there is none
        for group in range(file.num_row_groups):
            for number, row in enumerate(file.read_row_group(group, columns=columns).to_pylist()):
                held = [name for name in large if row[name] is not None]
                yield row | {name: _Cell(table, group, name, number, row[name]["path"]) for name in held}
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({error})") from None


def _holds_files(kind: Any) -> bool:
    from pyarrow.types import is_struct

    return bool(is_struct(kind)) and {"bytes", "path"} <= {kind.field(at).name for at in range(kind.num_fields)}


def _name(value: Any) -> str | None:
    """The file's name that a field holds."""
    name = value.path if isinstance(value, _Cell) else value.get("path") if isinstance(value, dict) else value
    return name if isinstance(name, str) and name else None


def _found(value: Any, beside: Path, where: str) -> Path | bytes:
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return bytes(value["bytes"])
    name = _name(value)
    if name is None:
        raise InputError(f"{where}: a recording or picture must be a file's name, or {{bytes, path}}, got {value!r}")
    path = beside.parent / name
    if not path.exists():
        raise InputError(f"{where}: {path}: no such file")
    return path


def _sound(source: Path | bytes, where: str) -> Content:
    if isinstance(source, Path):
        return sound(read_wave(source, SPEECH_RATE, LONGEST), SPEECH_RATE)
    return sound(read_open_wave(io.BytesIO(source), where, SPEECH_RATE, LONGEST), SPEECH_RATE)


def _picture(source: Path | bytes, where: str) -> Content:
    import numpy as np

    from omni.tokenizers.image.pixels import read_picture, to_levels

    if isinstance(source, Path):
        return picture(np.asarray(to_levels(read_picture(source, PIXELS))))
    with tempfile.TemporaryDirectory() as folder:                       # by its content, not by its name
        path = Path(folder) / where.replace("/", "_")
        path.write_bytes(source)
        try:
            return picture(np.asarray(to_levels(read_picture(path, PIXELS))))
        except InputError as error:
            raise InputError(str(error).removeprefix(f"{folder}/")) from None
