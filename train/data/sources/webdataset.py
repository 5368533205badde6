"""WebDataset archives: tar files in which neighbours with one name and different endings are one sample."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from omni.train.data.sources.chat import record_of
from omni.train.data.sources.record import MOST_BYTES, Bad, BadRecordError, Files, Record

IMAGES = ("jpg", "jpeg", "png", "webp")
AUDIOS = ("wav", "flac", "ogg", "mp3")


class _Member(NamedTuple):
    """key: the path up to the first dot of its name; content: None where it is too large."""

    key: str
    ending: str
    name: str
    content: bytes | None


def read_webdataset(path: Path, files: Files) -> Iterator[Record | Bad]:
    """A record for each sample, in one pass, whatever packs the archive.

    key.json with `messages`, or with key.txt or a text of its own and key.jpg or key.wav: a caption or transcription.
    """
    name, key = path.relative_to(files.root), ""
    try:
        with tarfile.open(path, "r|*") as archive:
            for key, members in groupby(_members(archive), lambda member: member.key):
                yield _record(f"{name}, sample {key}", list(members), files)
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Bad(f"{name}, behind sample {key}" if key else str(name), f"a damaged archive ({error})")


def _members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for member in archive:
        if member.isfile():
            folder, slash, file = member.name.rpartition("/")
            stem, _, ending = file.partition(".")
            opened = archive.extractfile(member) if member.size <= MOST_BYTES else None
            yield _Member(folder + slash + stem, ending.lower(), file, opened.read() if opened else None)


def _record(where: str, members: list[_Member], files: Files) -> Record | Bad:
    try:
        contents = {}
        for member in members:
            if member.content is None:
                raise BadRecordError(f"{member.name} is larger than {MOST_BYTES >> 20} MiB")
            contents[member.name] = member.content
        row = _row({member.ending: member.name for member in members}, contents)
        inside = replace(files, members=contents)
        return record_of(where, row, inside)
    except BadRecordError as error:
        return Bad(where, str(error))
    except ValueError as error:
        return Bad(where, f"its text is not valid ({error})")


def _row(names: dict[str, str], contents: dict[str, bytes]) -> Any:
    """A sample as one row: what its JSON says, its text, and the names of its picture and recording."""
    row: Any = json.loads(contents[names["json"]]) if "json" in names else {}
    if not isinstance(row, dict) or "messages" in row:
        return row
    row = {key: value for key, value in row.items() if isinstance(value, str) and key not in ("image", "audio")}
    if "txt" in names:
        row["text"] = contents[names["txt"]].decode("utf-8").strip()
    for column, endings in (("image", IMAGES), ("audio", AUDIOS)):
        found = [names[ending] for ending in endings if ending in names]
        if found:
            row[column] = found[0]
    return row
