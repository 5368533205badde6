"""kernel.c as a function: compiled once a machine, kept in the cache folder, called through ctypes."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from omni.files import atomic_path

SOURCE = Path(__file__).with_name("kernel.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC", "-std=c11")
POINTERS = 13                                                           # a layer: see the enum in kernel.c


class Shape(ctypes.Structure):
    """`Shape` of kernel.c."""

    _fields_ = [
        ("layers", ctypes.c_int64),
        ("d_model", ctypes.c_int64),
        ("d_ff", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("head_dim", ctypes.c_int64),
        ("max_steps", ctypes.c_int64),
        ("eps", ctypes.c_float),
    ]


@functools.cache
def kernel() -> "ctypes._NamedFuncPointer | None":
    """`omni_step` of kernel.c; None, and one line on stderr, where there is no C compiler that makes it."""
    program = next((found for name in ("gcc", "clang", "cc") if (found := shutil.which(name))), None)
    if program is None:
        print("omni: no C compiler found, so decoding takes about twice as long; install gcc", file=sys.stderr)
        return None
    try:
        library = ctypes.CDLL(str(_library(program)))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"omni: {program} could not build the decoder's kernel, so it is slower ({error})", file=sys.stderr)
        return None
    function = library.omni_step
    function.restype = None
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] + [ctypes.c_void_p] * 2
    return function


def _library(program: str) -> Path:
    """The compiled kernel in the cache folder, made when it is not there for this source, compiler and processor."""
    key = hashlib.sha256("\n".join([SOURCE.read_text("utf-8"), *FLAGS, program, _processor()]).encode()).hexdigest()
    root = Path(os.environ.get("OMNI_CACHE") or Path.home() / ".cache" / "omni")
    path = root / "kernels" / f"{key[:16]}.so"
    if not path.is_file():
        with atomic_path(path) as scratch:
            part = scratch.with_suffix(".o")
            # Linked without -ffast-math: with it, loading would switch the whole process to flushing denormals.
            compiling = [*FLAGS, "-c", str(SOURCE), "-o", str(part)]
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
