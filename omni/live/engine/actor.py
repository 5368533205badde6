"""A model's process on any node of a Ray cluster: an actor with a connection of its own to the door.

Ray places the actor, tells when and why it ended, and knows the way to it; what is said goes over one TCP connection,
since a call of Ray's is a question with an answer and a conversation is neither (docs/live.md).
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.live.engine import wire

PLACED = 60.0                                                           # seconds in which a node must have room
GREETED = 5.0                                                           # seconds in which a caller must name the secret
GONE = 5.0                                                              # seconds in which Ray must know of an end
SECRET = 32                                                             # bytes
SILENT = 15                                                             # seconds until a dark node counts as lost

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Model:
    """What runs on the node."""

    def node(self) -> str:
        """The node's address: it has room."""
        import ray

        return str(ray.util.get_node_ip_address())

    def serve(
        self, door: tuple[str, int], secret: bytes, model: str | None, int8: bool, device: str,
        measure: bool, at: str, models: int,
    ) -> None:  # fmt: skip
        """Work for the door that listens there until it hangs up. Raises InputError for what keeps it from that."""
        from omni.live.model.process import run

        try:
            connection = socket.create_connection(door, timeout=10)
        except OSError as error:
            raise InputError(f"the door at {door[0]}:{door[1]} cannot be reached from here ({error})") from None
        with connection:
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(secret)
            with contextlib.suppress(ConnectionError):
                run(connection, model, int8, device, measure, Path(at), models)


@dataclass
class Actor:
    """Has Ray run the worker wherever there is a core for it, and a GPU where `device` is cuda.

    model: its folder, which every node must see, None for the one that ships; measure: whether it finds out how many
    sessions it holds; models: how many of its kind may share a node's memory; a GPU is one's alone
    """

    ray: Any                                                            # the module, part of a cluster
    model: str | None = None
    int8: bool = False
    device: str = "cpu"
    measure: bool = True
    models: int = 1
    _actor: Any = None
    _node: str = "no node yet"
    _serving: "asyncio.Future[None] | None" = None

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise InputError(f"--device {self.device} with --engine ray: use cpu or cuda; Ray chooses the card")
        needs = {"num_cpus": 1, "num_gpus": int(self.device == "cuda")}
        self._kind = self.ray.remote(**needs, scheduling_strategy="SPREAD")(Model)

    async def start(self) -> Streams:
        """Have a new one placed; what it says, and what it is told. Raises InputError when that fails."""
        self.stop()
        caller = Caller(secrets.token_bytes(SECRET))
        host = self.ray.util.get_node_ip_address()                      # the way that other nodes come here
        listening = await asyncio.start_server(caller.called, host, 0, limit=wire.LARGEST)
        try:
            self._actor = self._kind.remote()
            self._node = await self._placed()
            door = listening.sockets[0].getsockname()[:2]
            sharing = 1 if self.device == "cuda" else self.models
            how = self.model, self.int8, self.device, self.measure, str(Path.cwd()), sharing
            work = self._actor.serve.remote(door, caller.secret, *how)
            self._serving = asyncio.wrap_future(work.future())
            either: tuple[asyncio.Future[Any], ...] = (self._serving, caller.streams)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not caller.streams.done():
                raise InputError(f"a model could not be started: {await self.ended()}")
            return caller.streams.result()
        finally:
            listening.close()

    async def ended(self) -> str:
        """Make sure that it has ended, now that its connection has; how it did."""
        assert self._serving is not None
        errors, why = self.ray.exceptions, "its connection was lost"
        try:
            async with asyncio.timeout(GONE):
                await asyncio.shield(self._serving)
        except TimeoutError:
            pass
        except errors.RayTaskError as error:
            why = str(error.cause)
        except errors.RayError as error:
            why = " ".join(str(error).split())
        self.stop()
        return f"node {self._node}: {why}"

    def stop(self) -> None:
        """End it, if it runs."""
        if self._serving is not None:
            self._serving.cancel()                                      # nobody waits for how it ends any more
        if self._actor is not None:
            self.ray.kill(self._actor)
            self._actor = None

    async def _placed(self) -> str:
        """The node that has room for it."""
        try:
            async with asyncio.timeout(PLACED):
                return str(await asyncio.wrap_future(self._actor.node.remote().future()))
        except TimeoutError:
            what = "a core and a GPU" if self.device == "cuda" else "a core"
            why = f"no node had {what} free for {PLACED:.0f} s; add nodes, or serve fewer --models"
        except self.ray.exceptions.RayError as error:
            why = f"is omni installed on every node? ({' '.join(str(error).split())})"
        self.stop()
        raise InputError(f"Ray could not place a model: {why}")


class Caller:
    """Waits for the one who knows the secret; `streams` is then the connection. Others are hung up on."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.streams: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

    async def called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody has connected."""
        said = b""
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(GREETED):
                said = await reader.readexactly(SECRET)
        if hmac.compare_digest(said, self.secret) and not self.streams.done():
            _notice_silence(writer.get_extra_info("socket"))
            self.streams.set_result((reader, writer))
        else:
            writer.close()


def _notice_silence(connection: socket.socket) -> None:
    """Have the system find out when the other machine is gone without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", SILENT // 3), ("TCP_KEEPINTVL", SILENT // 3), ("TCP_KEEPCNT", 2)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):                             # what was sent and never acknowledged
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT * 1000)
