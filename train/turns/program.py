"""What the programs have in common that teach the networks which come with turn detection."""

import argparse
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from omni.files import atomic_path
from omni.train.data.items import Manifest


def run(module: str, about: str | None, teach: Callable[[Manifest], nn.Module], file: Path) -> None:
    """`python -m module --data DIR [--out FILE]`: teach a network, and write it where turn detection reads it."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--data", type=Path, required=True, help="folder of `omni data prepare`")
    parser.add_argument("--out", type=Path, default=file, help="default: the file that turn detection reads")
    args = parser.parse_args()
    network = teach(Manifest.load(args.data))
    with atomic_path(args.out) as scratch:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, scratch)
    print(f"weights: {args.out}")
