"""kernel.c as a function of Python."""

import ctypes
import functools
from pathlib import Path

from omni.native import function

SOURCE = Path(__file__).with_name("kernel.c")
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
        ("bits", ctypes.c_int64),
        ("activation_bits", ctypes.c_int64),
        ("inner_norms", ctypes.c_int64),
        ("eps", ctypes.c_float),
    ]


class Past(ctypes.Structure):
    """`Past` of kernel.c."""

    _fields_ = [
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("max_steps", ctypes.c_int64),
        ("at", ctypes.c_int64),
    ]


@functools.cache
def kernel() -> "ctypes._NamedFuncPointer | None":
    """`omni_steps` of kernel.c; None, and one line on stderr, where there is no C compiler that makes it."""
    arguments = [ctypes.c_void_p] * 2 + [ctypes.c_int64] + [ctypes.c_void_p] * 5
    return function(SOURCE, "omni_steps", arguments, "decoding takes about twice as long")
