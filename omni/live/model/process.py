"""The model's process: what goes in and out of it.

    python -m omni.live.model.process FD [MODEL] [--int8] [--device DEVICE] [--measure] [--models N]
"""

import argparse
import os
import select
import signal
import socket
import sys
from pathlib import Path

import torch

from omni.decode.pipeline import Pipeline
from omni.errors import InputError
from omni.live.engine import messages, wire
from omni.live.model.ending import Ending
from omni.live.model.limits import longest_text
from omni.live.model.memory import share
from omni.live.model.pace import Pace, measured, warm
from omni.live.model.worker import Worker
from omni.native import return_memory
from omni.shipped import NAME, shipped_model

MOST_WAITING = 64 << 20                                                 # bytes that it takes before it comes to them


def serve(
    door: socket.socket, pipeline: Pipeline, name: str, pace: Pace | None, ending: Ending | None = None,
    memory: int | None = None,
) -> None:  # fmt: skip
    """Work until the door closes; memory: as in Worker."""
    codec = pipeline.tokenizers.audio
    assert codec is not None
    vocab = pipeline.vocab
    def say(message: messages.Told) -> None:
        door.sendall(wire.pack(message))

    known = pipeline.model.config.max_steps, codec.frame_rate * codec.codebooks, longest_text(pipeline)
    paced = (pace.room, pace.alone, pace.further) if pace else ()
    say(messages.Ready("", codec.sample_rate, vocab.voices, vocab.languages, name, *known, *paced))
    worker, data = Worker(pipeline, say, ending, memory=memory), bytearray()
    while True:
        doors = [door] if worker.waiting < MOST_WAITING else []         # else what is said waits at the door
        readable, _, _ = select.select(doors, [], [], 0 if worker.busy or worker.late else None)
        if readable:
            received = door.recv(1 << 20)
            if not received:
                return
            data += received
            for message in wire.together(wire.whole(data)):
                worker.take(message)
        if worker.busy:
            worker.work()                                               # what was heard is computed beside it
        elif worker.late:
            worker.catch_up()


def run(
    door: socket.socket, model: str | None, int8: bool = False, device: str = "cpu", measure: bool = False,
    at: Path = Path(), models: int = 1,
) -> None:  # fmt: skip
    """Load a model and work with it until the door closes; measure: how many sessions it holds; at: where a relative
    folder begins; models: processes that share the memory.

    Raises InputError for a model that cannot be served, OSError when the connection breaks.
    """
    if not os.environ.get("OMP_NUM_THREADS"):                           # which torch obeys
        torch.set_num_threads(1)
    return_memory()                                                     # of conversations that have ended
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        there = "cpu, or cuda" if torch.cuda.is_available() else "cpu"
        raise InputError(f"--device {device}: torch cannot use it here ({reason}); use {there}") from None
    folder = at / model if model else shipped_model()
    pipeline, ending = Pipeline.load(folder, device, int8), Ending.load(folder)
    if pipeline.tokenizers.audio is None:
        raise InputError(f"{folder}: this model neither hears nor speaks; serve one with an audio tokenizer")
    memory = share(pipeline.model.table.device, models)
    warm(pipeline, ending)
    serve(door, pipeline, model or NAME, measured(pipeline) if measure else None, ending, memory)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("fd", type=int)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--models", type=int, default=1)
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):                      # they are the door's, which ends this process
        signal.signal(number, signal.SIG_IGN)
    door = socket.socket(fileno=args.fd)
    run(door, args.model, args.int8, args.device, args.measure, models=args.models)


if __name__ == "__main__":
    try:
        main()
    except (InputError, BrokenPipeError, ConnectionResetError) as error:
        if isinstance(error, InputError):
            print(f"omni: {error}", file=sys.stderr)
        sys.exit(2)
