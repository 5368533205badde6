"""What every reader gives: records of a conversation, or the reason why one is of no use; and the files they name."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omni.decode.parts import Part

MOST_BYTES = 1 << 28                                                    # of a line, a file in an archive, a cell


class BadRecordError(ValueError):
    """A record that cannot be learnt from; the message is the reason."""


@dataclass(frozen=True)
class Record:
    """One conversation. where: file and line, row or sample; language, voice: those of the assistant, if it says."""

    where: str
    parts: list[Part]
    language: str | None = None
    voice: str | None = None


@dataclass(frozen=True)
class Bad:
    """A place where there is no record to be had, and why."""

    where: str
    reason: str


@dataclass
class Files:
    """The recordings and pictures that records name or hold.

    root: the source's folder, which no path may leave; scratch: where contents become files, until `clear`;
    members: contents that go by a name, as in an archive, instead of the files of `root`
    """

    root: Path
    scratch: Path
    members: Mapping[str, bytes] | None = None
    _made: dict[Path, int] = field(default_factory=dict)               # the files, with their sizes in bytes

    def path(self, value: Any) -> Path:
        """A file with what `value` says: a path, a data: address, bytes, or {"bytes": .., "path": ..} as of `datasets`.

        Raises BadRecordError for anything else.
        """
        if isinstance(value, Mapping):
            content, name = value.get("bytes"), value.get("path")
            if content is None:
                return self.path(name)
            return self.file(content, Path(str(name or "")).name)
        if isinstance(value, bytes):
            return self.file(value)
        if not isinstance(value, str) or not value:
            raise BadRecordError("a recording or picture has neither a path nor a content")
        if value.startswith("data:"):
            return self.file(decoded(value.partition(",")[2]))
        if "://" in value:
            raise BadRecordError(f"{value[:60]} is an address; download it beforehand and give its path")
        if self.members is not None:
            if value not in self.members:
                raise BadRecordError(f"{value!r} is not among the files of this sample")
            return self.file(self.members[value], Path(value).name)
        path = (self.root / value).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise BadRecordError(f"{value!r} leads out of the source's folder")
        return path

    def file(self, content: Any, name: str = "") -> Path:
        """A file with this content that lasts until `clear`."""
        if not isinstance(content, bytes) or not content:
            raise BadRecordError("a recording or picture is empty")
        path = self.scratch / f"{len(self._made)}-{name[-80:] or 'content'}"
        path.write_bytes(content)
        self._made[path] = len(content)
        return path

    @property
    def held(self) -> int:
        """Bytes of the contents in `scratch`."""
        return sum(self._made.values())

    def clear(self) -> None:
        for path in self._made:
            path.unlink()
        self._made.clear()

    def move_on(self, scratch: Path) -> None:
        """Leave the files to whoever uses them, and make the next ones in another folder."""
        self.scratch = scratch
        self._made.clear()


def decoded(text: Any) -> bytes:
    """Base64 as bytes. Raises BadRecordError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BadRecordError("a recording or picture is not valid base64") from None
