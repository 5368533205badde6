"""Parquet files, and the Arrow files that `datasets` saves: rows read a few at a time, through pyarrow alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.train.data.sources.chat import COLUMNS, MESSAGES, TAGS, record_of
from omni.train.data.sources.record import Bad, BadRecordError, Files, Record

ROWS = 32                                                               # in memory at a time


def read_table(path: Path, files: Files) -> Iterator[Record | Bad]:
    """A record for each row, of the columns that are known (omni.train.data.sources.chat)."""
    arrow, name, number = _arrow(), path.relative_to(files.root), 0
    try:
        for row in _rows(path, arrow):
            number += 1
            yield _record(f"{name}, row {number}", row, files)
    except (arrow.ArrowException, OSError) as error:
        yield Bad(f"{name}, behind row {number}", f"a damaged file ({' '.join(str(error).split())[:200]})")


def _rows(path: Path, arrow: Any) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        with arrow.parquet.ParquetFile(path) as table:
            columns = _known(path, table.schema_arrow.names)
            for batch in table.iter_batches(ROWS, columns=columns):
                yield from batch.to_pylist()
        return
    with arrow.memory_map(str(path)) as source:
        try:
            batches = iter(arrow.ipc.open_stream(source))
        except arrow.ArrowInvalid:
            reader = arrow.ipc.open_file(source)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        for batch in batches:
            known = batch.select(_known(path, batch.schema.names))
            for start in range(0, len(known), ROWS):
                yield from known.slice(start, ROWS).to_pylist()


def _known(path: Path, names: list[str]) -> list[str]:
    found = [name for name in names if name in (*COLUMNS, *TAGS)]
    if set(found) <= set(TAGS):
        raise InputError(f"{path}: its columns are {', '.join(names)}; wanted is one of {', '.join(COLUMNS)}")
    return found


def _record(where: str, row: dict[str, Any], files: Files) -> Record | Bad:
    try:
        if isinstance(row.get(MESSAGES), str):                          # some keep them as JSON
            row[MESSAGES] = json.loads(row[MESSAGES])
        return record_of(where, row, files)
    except BadRecordError as error:
        return Bad(where, str(error))
    except (ValueError, RecursionError) as error:
        return Bad(where, f"its messages are not valid JSON ({error})")


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet and Arrow files need pyarrow; pip install 'omni[sources]'") from None
    return pyarrow
