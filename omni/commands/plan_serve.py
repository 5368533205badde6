"""`omni plan serve`: how many live conversations a model can hold on a device."""

import argparse

EPILOG = """examples:
  omni plan serve tiny --gpu cpu
  omni plan serve 7b --gpu h100 --context 8192 --beside 0.02
A bound by memory and FLOPs of the model's steps in three fifths of the time, not a measurement; a step is taken for
all conversations together, as `omni serve` does. Codec, sampling and turn detection are left out unless --beside says
what they take; the share of "each further one" that `omni serve` prints at its start, on the same device, is an upper
bound of it. How many sessions a server lets in it measures itself then, 16 in a process at most unless --sessions says
otherwise."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The model, the device, and what a second of speech takes."""
    parser.description = "Live conversations at once, by the memory that a step reads and the FLOPs that it takes."
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="PRESET|RECIPE", help="as of `omni plan`")
    parser.add_argument("--gpu", default="h100", help="h100, a100-80 … or cpu: one core of this machine, measured")
    parser.add_argument("--context", type=int, default=2048, metavar="STEPS", help="of past (default: %(default)s)")
    parser.add_argument("--steps", type=float, default=25.0, help="a second of speech takes (default: %(default)g)")
    said = "of real time that each session takes beside the model's steps (default: %(default)g)"
    parser.add_argument("--beside", type=float, default=0.0, metavar="SHARE", help=said)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from omni.commands.plan import _recipe, _usual_vocabulary
    from omni.errors import InputError
    from omni.figures import Report
    from omni.train.plan.hardware import hardware
    from omni.train.plan.serving import Serving

    if args.context <= 0 or not 0 < args.steps < float("inf"):
        raise InputError(f"--context {args.context}, --steps {args.steps:g}: both must be positive")
    if not 0 <= args.beside < 1:
        raise InputError(f"--beside {args.beside:g}: must be a share, 0 to 1, such as 0.02")
    recipe, _ = _recipe(args.model.removeprefix("omni-"))
    config = recipe.model.config(_usual_vocabulary())
    bytes_each = 4 if args.gpu == "cpu" else 2
    serving = Serving(config, hardware(args.gpu), args.context, args.steps, bytes_each, args.beside)
    report = Report("plan serve")
    report.add("step_ms", serving.seconds(1) * 1e3, "ms")
    report.add("sessions", serving.sessions, "sessions")
    report.add("sessions_in_memory", serving.fitting, "sessions")
    report.add("memory_weights", serving.weights / 2**30, "GiB")
    report.add("memory_per_session", serving.past / 2**20, "MiB")
    print(report.table())
    left_out = "" if args.beside else "; codec, sampling and turn detection are left out (--beside)"
    print(f"sessions: a bound, by the model's steps on {args.gpu}{left_out}")
    if args.json:
        print(report.json())
