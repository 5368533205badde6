"""`omni serve`: a model behind OpenAI's Realtime and HTTP protocols, with a page to talk to it."""

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError
from omni.shipped import FOLDER, NAME, named_model

if TYPE_CHECKING:
    from omni.live.engine.pool import Body
    from omni.live.guard import Guards

EPILOG = """examples:
  omni serve                                     # http://127.0.0.1:8700/ is the page to talk to omni-tiny
  omni serve runs/tiny/model --port 9000 --key $(openssl rand -hex 24)
  omni serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --key-file keys.txt
  RAY_ADDRESS=10.0.0.1:6379 omni serve --engine ray --models 8 --device cuda   # one a GPU, on the cluster's nodes

clients: any that speaks OpenAI's Realtime (GA) or chat protocol, with base URL http://127.0.0.1:8700/v1"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.description = "Serve a model: /v1/realtime (WebSocket), /v1/chat/completions and their like, and a page."
    parser.epilog = EPILOG
    parser.add_argument("model", nargs="?", help=f"model folder (default: {NAME}, of omni itself)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8700, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--key", action="append", default=[], help="bearer key that lets a client in; may be repeated")
    parser.add_argument("--key-file", type=Path, help="file of such keys, one a line (or set OMNI_KEYS, by commas)")
    parser.add_argument("--origin", action="append", default=[], help="of pages that may connect; ours always may")
    parser.add_argument("--tls-cert", type=Path, help="certificate chain, PEM; with --tls-key")
    parser.add_argument("--tls-key", type=Path, help="its private key, PEM")
    parser.add_argument("--models", type=int, default=1, help="processes with the model (default: %(default)s)")
    parser.add_argument("--engine", choices=("local", "ray"), default="local",
                        help="where they run; ray: on the cluster of $RAY_ADDRESS, or one here")
    parser.add_argument("--sessions", type=int, metavar="N",
                        help="live sessions a process holds (default: as many as it is measured to hold without gaps)")
    parser.add_argument("--per-key", type=int, default=16,
                        help="sessions and questions of a key at once (default: %(default)s)")
    parser.add_argument("--idle", type=float, default=300.0,
                        help="seconds a client may be mute, or a request take (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="longest session (default: %(default)g)")
    parser.add_argument("--guard", action="append", default=[], choices=("voice", "text", "music"),
                        help="stop answers that leave the preset voice, break the policy or sing; may be repeated")
    parser.add_argument("--int8", action="store_true", help="8-bit weights: faster, a little less exact")
    parser.add_argument("--device", default="cpu", help="where the model runs (default: %(default)s)")
    parser.add_argument("--no-page", action="store_true", help="leave the demo page out")


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    keys = _keys(args)
    if args.host not in ("127.0.0.1", "::1", "localhost") and not keys:
        raise InputError(f"--host {args.host} is open to others; give --key, --key-file or OMNI_KEYS, or leave it out")
    if (args.tls_cert is None) != (args.tls_key is None):
        raise InputError("--tls-cert and --tls-key belong together; give both")
    for path in filter(None, (args.tls_cert, args.tls_key)):
        if not path.is_file():
            raise InputError(f"{path}: no such file; give a PEM file")
    if not 0 <= args.port < 65536 or min(args.models, 1 if args.sessions is None else args.sessions) < 1:
        raise InputError("--port must be 0 to 65535, --models and --sessions 1 or more")
    try:
        from omni.live.http.serving import serve
    except ImportError as error:
        raise InputError(f'`omni serve` needs {error.name}; install it with pip install "omni[live]"') from None
    from omni.live.engine.pool import Pool, Process
    from omni.live.http.door import Door
    from omni.model.shape import load_shape

    folder = named_model(args.model or NAME)
    _, vocab = load_shape(folder)                                       # says what is wrong before anything is started
    args.model = None if folder == FOLDER else str(folder)              # by which clients know it
    door = Door(keys, tuple(args.origin), args.per_key, args.seconds, args.idle)
    guards = _guards(args.guard, vocab.voices)
    with _bodies(args) as bodies:
        pool = Pool([Process(body) for body in bodies], args.sessions, _share(args))
        serve(pool, door, args.host, args.port, args.tls_cert, args.tls_key, guards, page=not args.no_page)


def _share(args: argparse.Namespace) -> float:
    """Of a core that each model's process has, where all of them, and the door, are on this machine's."""
    if args.engine != "local" or args.device != "cpu":
        return 1.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(1.0, max(1, cores - 1) / args.models)


@contextlib.contextmanager
def _bodies(args: argparse.Namespace) -> Iterator[Sequence["Body"]]:
    """Where the models' processes will live. Raises InputError when there is no such place."""
    measure = args.sessions is None                                     # whoever says how many is told of no pace
    how = args.model, args.int8, args.device, measure, args.models
    if args.engine == "local":
        from omni.live.engine.child import Child

        yield [Child(*how) for _ in range(args.models)]
        return
    from omni.cluster import joined
    from omni.live.engine.actor import Actor

    with joined(args.models) as ray:
        yield [Actor(ray, *how) for _ in range(args.models)]


def _guards(names: list[str], voices: tuple[str, ...]) -> "Guards | None":
    """The guards of these names, None where none is wanted. Raises InputError."""
    if not names:
        return None
    try:
        import torch

        from omni.safety.guards.together import guards
    except ImportError as error:
        raise InputError(f'guards need {error.name}; install it with pip install "omni[eval]"') from None
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(1)                                        # the other cores are the models'
    return guards(names, voices)


def _keys(args: argparse.Namespace) -> tuple[str, ...]:
    keys = [*args.key, *filter(None, os.environ.get("OMNI_KEYS", "").split(","))]
    if args.key_file is not None:
        try:
            kept = args.key_file.read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{args.key_file}: cannot be read ({error}); give a text file with a key a line") from None
        if not kept:                                                    # without keys everybody would be let in
            raise InputError(f"{args.key_file}: holds no key; give one a line, or leave --key-file out")
        keys += kept
    return tuple(keys)
