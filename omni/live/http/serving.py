"""Running the application with uvicorn."""

import asyncio
import logging
import socket
import ssl
from pathlib import Path

import uvicorn

from omni.errors import InputError
from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.http.app import application
from omni.live.http.door import Door


def serve(
    pool: Pool, door: Door, host: str, port: int, cert: Path | None = None, key: Path | None = None,
    guards: Guards | None = None, page: bool = True,
) -> None:  # fmt: skip
    """Serve until SIGINT or SIGTERM.

    Raises InputError when the certificate cannot be used, the address is taken or a model cannot be started.
    """
    if cert is not None:
        _check_certificate(cert, key)
    logging.basicConfig(format="omni: %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)       # its warnings are of what clients send
    listening = _listening(host, port)
    scheme = "https" if cert else "http"
    shown = f"[{host}]" if ":" in host else host
    at = f"{scheme}://{shown}:{listening.getsockname()[1]}"

    class Server(uvicorn.Server):
        """Has the pool run as long as it does itself."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            if not await self.models():
                return
            await super().startup(sockets)
            if self.started:
                name = pool.facts.name if pool.facts else ""
                print(f"omni: serving {name} at {at}/v1; the page is {at}/", flush=True)
                print(f"omni: {_room(pool)}", flush=True)

        async def models(self) -> bool:
            """Start them; False where a signal wants an end before they listen."""
            starting = asyncio.ensure_future(pool.start())
            while not starting.done() and not self.should_exit:
                await asyncio.wait([starting], timeout=0.1)
            if not self.should_exit:
                await starting
                return True
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)      # the signal may have ended their processes, too
            pool.stop()
            return False

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            pool.stop()

    config = uvicorn.Config(
        application(pool, door, guards, page), log_level="warning", access_log=False, ws="websockets-sansio",
        ws_max_size=door.largest, ws_per_message_deflate=False, ws_ping_interval=20,
        ws_ping_timeout=None,                                           # no pong is read while a client has to wait
        ssl_certfile=cert, ssl_keyfile=key, timeout_graceful_shutdown=2,
    )  # fmt: skip
    Server(config).run(sockets=[listening])


def _room(pool: Pool) -> str:
    """How many sessions there may be, and why."""
    if pool.facts is None or pool.room is not None:
        return f"{pool.sessions} sessions at most"
    alone, further = pool.facts.alone, pool.facts.further
    why = f"measured: the first that speaks takes {alone:.0%} of the time, each further one {further:.0%}"
    where = f", in each of {len(pool.processes)} processes" if len(pool.processes) > 1 else ""
    where += f", which has {pool.share:.0%} of a core" if pool.share < 1 else ""
    return f"{pool.sessions} sessions at most ({why}{where}); --sessions N decides otherwise"


def _check_certificate(cert: Path, key: Path | None) -> None:
    def password() -> str:
        raise InputError(f"{key}: the key is encrypted; give one without a passphrase")

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password)
    except OSError as error:                                            # what ssl raises is of this kind too
        reason = getattr(error, "reason", None) or error.strerror or "no PEM"
        raise InputError(f"{cert}, {key}: no certificate with its key ({reason}); give two PEM files") from None


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise InputError(f"cannot listen at {host}:{port} ({error.strerror}); choose another --port") from None
    # What it accepts inherits this. asyncio would set it only where the socket names its protocol, and the second of
    # two events would wait for the client to acknowledge the first, with its next 20 ms of sound.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.set_inheritable(True)
    return listening
