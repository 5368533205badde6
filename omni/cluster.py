"""Joining a Ray cluster, for whatever can work on one."""

import contextlib
import importlib.util
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from omni.errors import InputError


@contextlib.contextmanager
def joined(cores: int = 0) -> Iterator[Any]:
    """The module `ray`, part of a cluster for the length of a block.

    The cluster is that of $RAY_ADDRESS or of this machine; where there is none, one is started here with so many cores
    (0: those of this machine). Raises InputError when Ray is not installed or the cluster cannot be joined.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("--engine ray: Ray is not installed; `pip install 'omni[ray]'`, or use --engine local")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")               # it would send them out
    import ray

    if ray.is_initialized():                                            # a program's own session is its to end
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False}
    address = os.environ.get("RAY_ADDRESS", "auto")
    if address != "auto":
        _check_answers(address)
    try:
        ray.init(address, **quiet)
    except ConnectionError:
        if address != "auto":
            raise InputError(
                f"RAY_ADDRESS={address}: this machine is no node of that cluster; "
                f"run `ray start --address={address}` on it first"
            ) from None
        _start(ray, num_cpus=cores or len(os.sched_getaffinity(0)), **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, **how: Any) -> None:
    """Raises InputError when the parts of a cluster do not find each other in Ray's time for that."""
    try:
        ray.init("local", **how)
    except Exception as error:                                          # Ray has no kind of its own for it
        raise InputError(
            f"Ray could not be started here ({error}); try again when this machine has less to do, "
            "or start it before: `ray start --head`"
        ) from None


def _check_answers(address: str) -> None:
    """Raises InputError unless something listens there: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError):
        raise InputError(
            f"RAY_ADDRESS={address}: no Ray cluster answers there; give the HOST:PORT that `ray start --head` names"
        ) from None
