"""The `omni` command: the composition root. A verb's module is imported only when that verb runs."""

import argparse
import errno
import importlib
import keyword
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from omni import __version__
from omni.errors import InputError
from omni.figures import made

VERBS = {
    "quickstart": "from nothing to a trained model, a report and a spoken answer",
    "data": "fetch, prepare and show the training data",
    "tokenizer": "train and measure the text, audio and image tokenizers",
    "train": "train a model from a recipe; `train report`, `train doctor` and `train ending` do more",
    "import": "make a model of a Llama, Mistral or Qwen checkpoint",
    "export": "write a model as a checkpoint that transformers loads",
    "generate": "any mix of text, audio, images and video in; text, audio and images out",
    "chat": "a conversation with a model in the terminal",
    "scaling": "fit scaling laws to runs; predict and plan others from them",
    "study": "results of papers measured again here, with a verdict for every claim",
    "eval": "score every task on held-out items; `eval abilities`, `eval suite`, `eval compare` do more",
    "card": "the System Card of a model; `card diff`, and provenance by `card sign` and `card verify`",
    "bench": "measure training and decoding against transformers",
    "serve": "a model behind the Realtime and chat protocols, with a page to talk to it",
    "plan": "memory, communication, speed and cost of a model before it is trained; `plan serve` of live speech",
}
# Words that a verb's first argument could be mistaken for: RECIPE may be any name, `./report` or `report.yaml` too.
WITHIN: dict[tuple[str, ...], str] = {
    ("train", "report"): "train_report",
    ("train", "ending"): "train_ending",
    ("train", "doctor"): "train_doctor",
    ("eval", "abilities"): "eval_abilities",
    ("eval", "suite"): "eval_suite",
    ("eval", "compare"): "eval_compare",
    ("plan", "serve"): "plan_serve",
    ("card", "diff"): "card_diff",
    ("card", "sign"): "card_sign",
    ("card", "verify"): "card_verify",
}
ELSEWHERE, IN_THE_WAY = "name a place that you may write to and read from", "is in the way; name another"
MENDS = {                                                               # of what a file system refuses
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), ELSEWHERE),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), f"a file {IN_THE_WAY} folder"),
    **dict.fromkeys((errno.EISDIR, errno.ENOTEMPTY), f"a folder {IN_THE_WAY} file"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room and run the same command again"),
    errno.ENOENT: "check the path", errno.ENAMETOOLONG: "choose a shorter name",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 2 for bad input, 130 after Ctrl-C; SIGTERM exits with 143."""
    words = list(sys.argv[1:] if argv is None else argv)
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="omni", description=_overview(), formatter_class=formatter)
    parser.add_argument("--version", action="version", version=f"omni {__version__}")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="omni VERB --help shows its flags and an example")
    args = parser.parse_args(words[:1])
    name, at = WITHIN.get(tuple(words[:2])), 2
    if name is None:
        name, at = (f"{args.verb}_" if keyword.iskeyword(args.verb) else args.verb), 1  # `import` cannot name a module
    verb_parser = argparse.ArgumentParser(prog=" ".join(("omni", *words[:at])), formatter_class=formatter)
    with made(argv=["omni", *_public(words)]), _tidy_at_sigterm():
        return _run(f"omni.commands.{name}", verb_parser, words[at:])


def _public(words: Sequence[str]) -> list[str]:
    """What was typed, without keys: figures are shown to others."""
    shown = [re.sub(r"^--key=.*", "--key=KEY", word, flags=re.DOTALL) for word in words]
    return ["KEY" if before == "--key" else word for before, word in zip(["", *shown], shown, strict=False)]


@contextmanager
def _tidy_at_sigterm() -> Iterator[None]:
    """SIGTERM ends a verb as Ctrl-C does: what it has opened is closed, and processes that it has started are ended."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(verb: str, parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Import a verb's module and run it with its words."""
    try:
        module = importlib.import_module(verb)
        module.configure(parser)
        module.run(parser.parse_args(words))
        return 0
    except InputError as error:
        print(f"omni: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("omni: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:                                             # `omni ... | head` closed our output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in MENDS:
            raise
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        print(f"omni: {where}{error.strerror}; {MENDS[error.errno]}", file=sys.stderr)
        return 2


def _overview() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items())
    return f"One model that hears, sees, reads and speaks.\n\nverbs:\n{rows}"


if __name__ == "__main__":
    sys.exit(main())
