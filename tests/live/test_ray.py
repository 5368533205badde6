"""`omni serve --engine ray` on a cluster of two nodes on loopback: a model on each, one of them killed."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from omni.cluster import joined
from omni.errors import InputError
from omni.eval.live.serving import server
from omni.live.engine.actor import Actor, Caller
from omni.live.engine.pool import Pool, Process

pytest.importorskip("ray", reason="Ray is not installed: pip install 'omni[ray]'")
pytestmark = pytest.mark.slow

QUESTION = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello."}]}


def models() -> dict[int, int]:
    """The processes of ours with a model, and of each the node (its raylet) that runs it."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    parents, found = {}, []
    for pid, parent, args in (line.split(None, 2) for line in listed.splitlines()):
        parents[int(pid)] = int(parent)
        found += [int(pid)] if "Model.serve" in args else []
    return {pid: parents[pid] for pid in found if os.getpid() in _ancestors(pid, parents)}


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next event of this type."""
    async with asyncio.timeout(60):
        while True:
            event = json.loads(await socket.recv())
            if event["type"] == kind:
                return event


async def answered(socket: ClientConnection) -> str:
    """How an answer ended."""
    await socket.send(json.dumps({"type": "conversation.item.create", "item": QUESTION}))
    await socket.send(json.dumps({"type": "response.create"}))
    return (await until(socket, "response.done"))["response"]["status"]


async def opened(url: str) -> ClientConnection:
    """A session, as soon as there is room for one."""
    async with asyncio.timeout(90):
        while True:
            socket = await connect(url, proxy=None)
            event = json.loads(await socket.recv())
            if event["type"] == "session.created":
                return socket
            assert event["error"]["code"] == "server_full"
            await asyncio.sleep(0.5)


def test_each_node_has_a_model_and_the_death_of_one_is_not_the_others(two_nodes: None) -> None:
    async def talk(url: str) -> None:
        first, second = [await opened(url) for _ in range(2)]
        assert [await answered(socket) for socket in (first, second)] == ["completed"] * 2
        nodes = models()
        assert len(nodes) == len(set(nodes.values())) == 2
        os.kill(min(nodes), signal.SIGKILL)
        ended, told = await first_to_end(first, second)
        assert told["error"]["code"] == "model_died"
        alive = second if ended is first else first
        assert await answered(alive) == "completed"
        third = await opened(url)                                       # each model holds one session
        assert await answered(third) == "completed"
        assert len(models()) == 2 and min(nodes) not in models()

    with server(None, None, "--engine", "ray", "--models", "2", "--sessions", "1") as url:
        asyncio.run(talk(url))
    assert not models()


async def first_to_end(*sockets: ClientConnection) -> tuple[ClientConnection, dict[str, Any]]:
    """The session that is shut, and its last event."""

    async def last(socket: ClientConnection) -> tuple[ClientConnection, dict[str, Any]]:
        event: dict[str, Any] = {}
        with pytest.raises(ConnectionClosed):
            while True:
                event = json.loads(await socket.recv())
        return socket, event

    tasks = [asyncio.create_task(last(socket)) for socket in sockets]
    done, waiting = await asyncio.wait(tasks, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    (ended,) = done
    return ended.result()


def test_what_keeps_a_model_from_starting_is_one_line(two_nodes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*bodies: Actor) -> str:
        with pytest.raises(InputError) as told:
            asyncio.run(Pool([Process(body) for body in bodies], 1).start())
        assert "\n" not in str(told.value)
        return str(told.value)

    with joined() as ray:
        words = refused(Actor(ray, "no/such/model"))
        assert re.search(r"node [\d.]+: ", words) and "no/such/model" in words, words
        monkeypatch.setattr("omni.live.engine.actor.PLACED", 2.0)
        assert "no node had a core and a GPU free" in refused(Actor(ray, device="cuda"))
        with pytest.raises(InputError, match="Ray chooses the card"):
            Actor(ray, device="cuda:1")
    assert not models()


def test_only_who_knows_the_secret_becomes_the_model() -> None:
    async def call(port: int, said: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        await writer.drain()
        return reader

    async def try_all() -> None:
        caller = Caller(secret := bytes(range(32)))
        async with await asyncio.start_server(caller.called, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            silent = await call(port, b"")
            assert await (await call(port, secret[::-1])).read() == b""  # hung up on
            assert not caller.streams.done()
            await call(port, secret + b"and more")
            reader, writer = await asyncio.wait_for(caller.streams, 10)
            assert await reader.readexactly(8) == b"and more"
            assert writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert await (await call(port, secret)).read() == b""       # it has been used
            assert await silent.read() == b""
            writer.close()

    asyncio.run(try_all())


def test_a_machine_outside_the_cluster_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Something answers at the address, and Ray finds no node of that cluster here."""
    import ray

    def init(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no node")

    monkeypatch.setattr(ray, "init", init)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=f"run `ray start --address={address}`"), joined():
            pass
