"""What verbs that ask a model have in common: what it is given, how its answer is drawn, where it lies."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError
from omni.shipped import NAME, named_model, shipped_model

if TYPE_CHECKING:
    from omni.decode.parts import Part
    from omni.decode.pipeline import How
    from omni.decode.samplers import Sampler
    from omni.vocab import Vocabulary

GIVEN = {
    "text": "something written",
    "audio": "a recording (WAV, FLAC, OGG, MP3)",
    "image": "a picture (PNG, JPEG, SVG ...)",
    "video": "a GIF, a film or a folder of pictures",
}


class _Given(argparse.Action):
    """Appends (modality, value) to one list, so that the order of different flags is kept."""

    def __call__(self, parser: object, namespace: argparse.Namespace, value: object, flag: str | None = None) -> None:
        namespace.given = [*(getattr(namespace, "given", None) or []), ((flag or "").lstrip("-"), value)]


def add_given(parser: argparse.ArgumentParser) -> None:
    """Flags of what is put before the model; `args.given` holds them in order."""
    parser.set_defaults(given=[])
    for flag, what in GIVEN.items():
        metavar = "TEXT" if flag == "text" else "FILE"
        parser.add_argument(f"--{flag}", action=_Given, metavar=metavar, help=f"{what}; may be given more than once")


def add_answer(parser: argparse.ArgumentParser) -> None:
    """Flags of what is wanted, from which model and how it is drawn."""
    parser.add_argument("--want", default="text", metavar="LIST", help="text,audio,image in any order (default: text)")
    parser.add_argument("--language", metavar="CODE", help="language of the answer, such as fr")
    parser.add_argument("--voice", metavar="NAME", help="voice of a spoken answer")
    parser.add_argument(
        "--model", type=named_model, metavar="DIR", help=f"model folder (default: {NAME}, of omni itself)"
    )
    parser.add_argument("--device", default="cpu", help="where the model runs, such as cuda (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the most probable (default: %(default)s)")
    parser.add_argument("--top-k", type=int, default=0, help="draw from the k most probable; 0: off")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the most probable that hold p; 1: off")
    parser.add_argument("--epsilon", type=float, default=0.0, help="draw from ids of at least this probability; 0: off")
    parser.add_argument("--filter-first", action="store_true", help="filter before the temperature heats, not after it")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same answer (default: %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=10.0, help="longest spoken answer (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest written answer (default: %(default)s)")


def parts(given: list[tuple[str, str]]) -> "list[Part]":
    """What `add_given` collected, for the model to look at. Raises InputError for an empty text."""
    from omni.decode.parts import Audio, Picture, Text, Video

    if ("text", "") in [(modality, value.strip()) for modality, value in given]:
        raise InputError("--text: nothing is written there; write something, or leave it out")
    kinds = {"text": Text, "audio": Audio, "image": Picture, "video": Video}
    return [kinds[modality](value) for modality, value in given]


def sampler(args: argparse.Namespace) -> "Sampler":
    """How ids are drawn, by the flags of `add_answer`. Raises InputError for a value out of range."""
    from omni.decode.samplers import Sampler

    return Sampler(args.temperature, args.top_k, args.top_p, args.epsilon, args.filter_first)


def how(args: argparse.Namespace) -> "How":
    """How the answer is to be given, by the flags of `add_answer`. Raises InputError for a value out of range."""
    return {
        "language": args.language, "voice": args.voice, "sampler": sampler(args), "seed": args.seed,
        "max_seconds": args.max_seconds, "max_tokens": args.max_tokens,
    }  # fmt: skip


def tell_unlearnt(model: Path | None, language: str | None, vocab: "Vocabulary") -> None:
    """Say so where the answer is wanted in a language that the model has a tag for, and never learnt."""
    from omni.model.folder import learnt_languages

    learnt = learnt_languages(model or shipped_model())
    if learnt is not None and language in set(vocab.languages) - set(learnt):
        say = f"omni: --language {language}: the model never learnt it, and hardly knows what it says in it"
        print(f"{say}; it learnt {', '.join(learnt)}", file=sys.stderr)


def listed(want: str) -> list[str]:
    """The modalities of a list such as `text,audio`."""
    return [modality.strip() for modality in want.split(",")]
