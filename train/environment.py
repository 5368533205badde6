"""What must be set before DeepSpeed is imported, in one place."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "omni" / "compiled"


def prepare_process(device: str = "auto") -> str:
    """Set the switches of this process and return its device type, "cuda" or "cpu". Call it before `deepspeed()`.

    device: "auto" takes a GPU where there is one.
    """
    import torch

    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        os.environ.setdefault("LOCAL_SIZE", os.environ.get("WORLD_SIZE", "1"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(CACHE))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return kind


def deepspeed() -> ModuleType:
    """The deepspeed module, quiet."""
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "warning")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*torch.cpu.amp.*")
    import deepspeed as module
    from deepspeed.ops import __compatible_ops__ as compiled_on_first_use
    from deepspeed.runtime import compiler
    from deepspeed.utils import logger

    compiled_on_first_use["deepspeed_shm_comm"] = False                 # a minute of C++ for a slightly faster gloo
    compiler.compile = lambda: compiler.dummy_decorator                 # for its own Muon it would import inductor: 2 s
    logger.setLevel(logging.ERROR)                                      # it warns of every optimizer but its own
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    return module


def restore_linear() -> None:
    """Give torch its own `linear` back, which DeepSpeed's third stage replaces for good by one without forward mode."""
    import torch
    from deepspeed.runtime.zero.partition_parameters import InsertPostInitMethodToModuleSubClasses as Replaced

    torch.nn.functional.linear = getattr(Replaced, "linear_bk", torch.nn.functional.linear)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """DeepSpeed prints to stdout, where a command's result belongs; what it says there is dropped."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def alone_unless_launched() -> Iterator[None]:
    """Where no launcher did, give the settings of the only process of a run, and take them back at the end."""
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    settings = {name: value for name, value in place.items() if name not in os.environ}
    if "MASTER_PORT" not in os.environ:
        settings["MASTER_PORT"] = str(free_port())
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            os.environ.pop(name, None)
