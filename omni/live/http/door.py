"""Who may come in: keys, origins, and how much of everything."""

import asyncio
import hmac
import ipaddress
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from omni.errors import InputError

STRANGER = "pages of this origin, or a server by this name, may not be asked; name it with --origin"
NO_KEY = "wrong or missing key; send Authorization: Bearer KEY"
SUBPROTOCOL_KEY = "openai-insecure-api-key."                            # how a browser, which sets no headers, sends it


@dataclass
class Door:
    """Rules of the server, and what it counts to keep them.

    keys:            bearer keys; none lets everybody in (for a server on the loopback interface)
    origins:         of pages that may connect besides our own, such as https://example.org; "*" for any
    per_key:         sessions and questions over HTTP that one key may have open at once
    seconds, idle:   how long a session may last, and how long without a word from the client, or one request over HTTP
    events:          client events a second that are taken of a session on average, and requests of a key
    sound:           seconds of sound that are taken of a session in a second on average, by its microphone and, once
                     more, in whole recordings
    largest:         bytes of one message or request
    """

    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    per_key: int = 16
    seconds: float = 3600.0
    idle: float = 300.0
    events: float = 200.0
    sound: float = 4.0
    largest: int = 16 << 20
    _open: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _allowed: "dict[str, Allowance]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("per_key", "seconds", "idle", "events", "sound", "largest"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)}: must be positive")
        if any(not key.isascii() or not key.strip() for key in self.keys):
            raise InputError("a key must be plain ASCII and not empty; make one with `openssl rand -hex 24`")

    def key(self, connection: HTTPConnection) -> str | None:
        """Whose request this is: the key, "" where none is needed, None for a stranger."""
        if not self.keys:
            return ""
        given = _bearer(connection.headers) or _subprotocol(connection)
        found = None
        for key in self.keys:                                           # all of them, in the same time for each
            if hmac.compare_digest(key.encode(), given.encode("utf-8", "replace")):
                found = key
        return found

    def full(self, key: str) -> str | None:
        """Why this key may not have one more open, None where it may. Without keys nobody is told from another."""
        if not self.keys or self._open[key] < self.per_key:
            return None
        return f"this key has {self.per_key} conversations open, the most it may have"

    @contextmanager
    def opened(self, key: str) -> Iterator[None]:
        """Count one as open as long as the context lasts."""
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1

    def allowance(self, key: str) -> "Allowance":
        """What this key may still ask over HTTP."""
        return self._allowed.setdefault(key, Allowance(self.events))

    def from_here(self, connection: HTTPConnection) -> bool:
        """Whether the page that asks, if a page does, is ours or one that may.

        Without keys the server must be asked by an address, as localhost, or by a name of `origins`: a page whose own
        name was made to lead here (DNS rebinding) has the origin that it asks.
        """
        host = connection.headers.get("host", "")
        origin = connection.headers.get("origin")
        if "*" in self.origins or origin in self.origins:
            return True
        if not self.keys and not _local(name := _name(host)) and name not in map(_name, self.origins):
            return False
        return origin is None or origin.partition("://")[2] == host


@dataclass
class Allowance:
    """A token bucket: `rate` a second, saved up for two seconds, or up to `most`."""

    rate: float
    most: float = 0.0
    _saved: float = field(init=False)
    _at: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._saved = self.most = self.most or self.rate * 2

    async def take(self, amount: float = 1) -> None:
        """So much more, as soon as it is within the rate: whoever sends faster is read more slowly."""
        now = time.monotonic()
        self._saved, self._at = min(self.most, self._saved + (now - self._at) * self.rate) - amount, now
        if self._saved < 0:
            await asyncio.sleep(-self._saved / self.rate)

    def as_event(self) -> list[dict[str, object]]:
        """What is left, as the protocol's `rate_limits` tell it."""
        left = {"limit": int(self.most), "remaining": max(0, int(self._saved))}
        return [{"name": "requests", **left, "reset_seconds": (self.most - self._saved) / self.rate}]


def _name(host: str) -> str:
    """Of a host or an origin, without scheme and port."""
    try:
        return urlsplit(host if "://" in host else f"//{host}").hostname or ""
    except ValueError:
        return ""


def _local(name: str) -> bool:
    """Whether nobody else can make it lead here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _subprotocol(connection: HTTPConnection) -> str:
    offered = connection.headers.get("sec-websocket-protocol", "")
    names = [name.strip() for name in offered.split(",")]
    return next((name.removeprefix(SUBPROTOCOL_KEY) for name in names if name.startswith(SUBPROTOCOL_KEY)), "")
