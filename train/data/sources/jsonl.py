"""Lines of JSON, a conversation each."""

import json
from collections.abc import Iterator
from pathlib import Path

from omni.train.data.sources.chat import record_of
from omni.train.data.sources.record import MOST_BYTES, Bad, BadRecordError, Files, Record


def read_jsonl(path: Path, files: Files) -> Iterator[Record | Bad]:
    """A record for each line that is not blank."""
    name = path.relative_to(files.root)
    with path.open("rb") as lines:
        number = 0
        while line := lines.readline(MOST_BYTES):
            number += 1
            where = f"{name}, line {number}"
            if len(line) == MOST_BYTES and not line.endswith(b"\n"):
                while (rest := lines.readline(MOST_BYTES)) and not rest.endswith(b"\n"):
                    continue
                yield Bad(where, f"longer than {MOST_BYTES >> 20} MiB; is it JSON with a record on each line?")
            elif line.strip():
                yield _record(where, line, files)


def _record(where: str, line: bytes, files: Files) -> Record | Bad:
    try:
        return record_of(where, json.loads(line), files)
    except BadRecordError as error:
        return Bad(where, str(error))
    except (ValueError, RecursionError) as error:                       # UnicodeDecodeError, JSONDecodeError
        return Bad(where, f"not valid JSON ({error})")
