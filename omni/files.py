"""Files that are either whole or not there: atomic writes and checksums."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omni.errors import InputError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends without an exception.

    The block may create a file or a folder there; an existing `path` is replaced.
    """
    path = Path(path)
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            target = scratch / path.name
            yield target
            if path.is_dir():                                           # replace cannot replace a full folder
                path.rename(scratch / "replaced")
            target.replace(path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have what the system refuses of a scratch file name `path`; safetensors hides the number of it in a text."""
    try:
        yield
    except OSError as error:
        scratch = f"{path.parent / f'.{path.name}.'}"
        full = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or (isinstance(error.filename, str) and error.filename.startswith(scratch)):
            error.filename, error.filename2 = str(path), None
        raise
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def write_text(path: Path | str, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file atomically, indented for people."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text.encode("utf-8", "backslashreplace").decode())  # half a surrogate pair, as JSON escapes it


def read_json(path: Path | str) -> Any:
    """Parse a JSON file. Raises InputError when it is missing or not JSON."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); is it truncated?") from None


def code(sources: Iterable[Path]) -> str:
    """Checksum of the code, tables and weights in files and folders: figures of another version are not the same."""
    files = [path for one in sources for path in (sorted(one.rglob("*")) if one.is_dir() else [one])]
    kept = [path for path in files if path.suffix in (".py", ".c", ".h", ".toml", ".jsonl", ".safetensors")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in kept)).hexdigest()


def sha256(path: Path | str) -> str:
    """Checksum of a file's bytes as 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
