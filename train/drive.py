"""A place on a drive for what training moves off the accelerator (ZeRO-Infinity, Rajbhandari et al. 2021)."""

import atexit
import shutil
import tempfile
from pathlib import Path

from omni.errors import InputError


def own_folder(path: str) -> str:
    """A folder below `path` for this process alone, which goes when the process ends; a killed one leaves it behind.

    DeepSpeed names its files by rank: two runs would write to each other's. Raises InputError where the folder cannot
    be made, or DeepSpeed's asynchronous reading and writing cannot be compiled.
    """
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise InputError("offload: nvme needs the headers of libaio; install them (libaio-dev), or use cpu")
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="omni-", dir=path)
    except OSError as error:
        raise InputError(f"offload.path: {path}: {error.strerror}; name a folder that can be written") from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
