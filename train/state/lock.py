"""One writer to a run: a lock of the kernel's, which goes with the process that holds it, however that ends."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from omni.errors import InputError

LOCK = ".lock"
PATIENCE = 5.0                                                          # seconds: one that was stopped may still save
WITHOUT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)                # of file systems that know no locks


@contextmanager
def sole_writer(run: Path) -> Iterator[None]:
    """Nobody else who asks for this writes to a run meanwhile.

    Raises InputError where somebody does, and still does after `PATIENCE` seconds.
    """
    run.mkdir(parents=True, exist_ok=True)
    file = _taken(run)
    with file:
        try:
            yield
        finally:
            (run / LOCK).unlink(missing_ok=True)


def _taken(run: Path) -> TextIO:
    """The open file, as long as which the run is ours."""
    path, until = run / LOCK, time.monotonic() + PATIENCE
    while True:
        file = path.open("a+", encoding="utf-8")
        if _locked(file) and _still(path, file):
            file.truncate(0)
            file.write(f"{os.getpid()} on {socket.gethostname()}")
            file.flush()
            return file
        file.seek(0)
        holder = file.read()
        file.close()
        if time.monotonic() > until:
            raise InputError(f"{run}: another run writes there (process {holder}); stop it, or name another --out")
        time.sleep(0.2)


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in WITHOUT
    return True


def _still(path: Path, file: TextIO) -> bool:
    """Whether it is the file at this path: whoever held it before has deleted it in the end."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
