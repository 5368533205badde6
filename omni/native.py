"""C sources as functions: compiled once a machine, kept in the cache folder, called through ctypes. And C's memory."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omni.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

M_MMAP_THRESHOLD = -3                                                   # of glibc's malloc.h
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC", "-std=c11")
HEADER = Path(__file__).with_name("native.h")                             # what several of the sources include


def function(source: Path, name: str, arguments: Sequence[type], without: str) -> "ctypes._NamedFuncPointer | None":
    """A function of a C file that returns nothing; None where the file cannot be made, as `library` tells."""
    built = library(source, without)
    if built is None:
        return None
    found = getattr(built, name)
    found.restype, found.argtypes = None, list(arguments)
    return found


def addresses(tensors: "Sequence[Tensor]") -> "ctypes.Array[ctypes.c_size_t]":
    """Where tensors lie, which somebody has to keep alive while a function reads them there."""
    return (ctypes.c_size_t * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


@functools.cache
def library(source: Path, without: str) -> ctypes.CDLL | None:
    """The library of a C file; None, and one line on stderr, where there is no C compiler that makes it.

    without: what it means to do without it, for that line, such as "decoding takes about twice as long"
    """
    program = next((found for name in ("gcc", "clang", "cc") if (found := shutil.which(name))), None)
    if program is None:
        print(f"omni: no C compiler found, so {without}; install gcc", file=sys.stderr)
        return None
    try:
        return ctypes.CDLL(str(_built(source, program)))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"omni: {program} could not build {source.name}, so {without} ({error})", file=sys.stderr)
        return None


def return_memory() -> None:
    """Have large pieces of memory given back to the system as soon as they are free; glibc would keep them for good."""
    with contextlib.suppress(AttributeError, OSError):                  # where there is another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)


def _built(source: Path, program: str) -> Path:
    """The compiled file in the cache folder, made when it is not there for this source, compiler and processor."""
    sources = [path.read_text("utf-8") for path in (source, HEADER)]
    key = hashlib.sha256("\n".join([*sources, *FLAGS, program, _processor()]).encode()).hexdigest()
    root = Path(os.environ.get("OMNI_CACHE") or Path.home() / ".cache" / "omni")
    path = root / "kernels" / f"{key[:16]}.so"
    if not path.is_file():
        with atomic_path(path) as scratch:
            part = scratch.with_suffix(".o")
            # Linked without -ffast-math: with it, loading would switch the whole process to flushing denormals.
            compiling = [*FLAGS, f"-I{HEADER.parent}", "-c", str(source), "-o", str(part)]
            for arguments in (compiling, ["-shared", str(part), "-o", str(scratch), "-lm"]):
                subprocess.run([program, *arguments], check=True, capture_output=True, timeout=120)
    return path


def _processor() -> str:
    """What -march=native stands for: a cache folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
