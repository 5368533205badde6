"""`omni generate`: ask a model something and keep what it says, speaks and draws."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.decode.parts import Part

DEFAULT_MODEL = Path("runs/quickstart/model")
GIVEN = {
    "text": "something written",
    "audio": "a recording (WAV, FLAC, OGG, MP3)",
    "image": "a picture (PNG, JPEG, SVG ...)",
    "video": "a GIF, a film or a folder of pictures",
}
EPILOG = """examples:
  omni generate --image owl.png --want text,audio --language fr --out answer
  omni generate --audio question.wav --text "Say it in Spanish." --want audio --language es --out answer
What is given is put before the model in the order of the flags. The answer's parts come in the order of --want."""


class _Given(argparse.Action):
    """Appends (modality, value) to one list, so that the order of different flags is kept."""

    def __call__(self, parser: object, namespace: argparse.Namespace, value: object, flag: str | None = None) -> None:
        namespace.given = [*(getattr(namespace, "given", None) or []), ((flag or "").lstrip("-"), value)]


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags: what is given, what is wanted, and how it is drawn."""
    parser.description = "Any mix of text, audio, pictures and video in; text, audio and a picture out."
    parser.epilog = EPILOG
    parser.set_defaults(given=[])
    for flag, what in GIVEN.items():
        metavar = "TEXT" if flag == "text" else "FILE"
        parser.add_argument(f"--{flag}", action=_Given, metavar=metavar, help=f"{what}; may be given more than once")
    parser.add_argument("--want", default="text", metavar="LIST", help="text,audio,image in any order (default: text)")
    parser.add_argument("--language", metavar="CODE", help="language of the answer, such as fr")
    parser.add_argument("--voice", metavar="NAME", help="voice of a spoken answer")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answer's files")
    parser.add_argument("--model", type=Path, metavar="DIR", help=f"model folder (default: {DEFAULT_MODEL})")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the most probable (default: %(default)s)")
    parser.add_argument("--top-k", type=int, default=0, help="draw from the k most probable; 0: off")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the most probable that hold p; 1: off")
    parser.add_argument("--epsilon", type=float, default=0.0, help="draw from ids of at least this probability; 0: off")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same answer (default: %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=10.0, help="longest spoken answer (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest written answer (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Answer, save the answer, print its text and where the rest is."""
    from omni.decode.pipeline import Pipeline
    from omni.decode.samplers import Sampler

    sampler = Sampler(args.temperature, args.top_k, args.top_p, args.epsilon)
    parts = _parts(args.given)
    want = [modality.strip() for modality in args.want.split(",")]
    pipeline = Pipeline.load(_model_folder(args.model))
    answer = pipeline(
        parts, want, language=args.language, voice=args.voice, sampler=sampler, seed=args.seed,
        max_seconds=args.max_seconds, max_tokens=args.max_tokens,
    )  # fmt: skip
    asked = [{"modality": modality, "value": str(value)} for modality, value in args.given]
    sampling = {**asdict(sampler), "seed": args.seed}
    paths = answer.save(args.out, asked=asked, want=want, language=args.language, voice=args.voice, sampling=sampling)
    if answer.text is not None:
        print(answer.text)
    print("written: " + ", ".join(map(str, paths)))


def _parts(given: list[tuple[str, str]]) -> "list[Part]":
    from omni.decode.parts import Audio, Picture, Text, Video

    kinds = {"text": Text, "audio": Audio, "image": Picture, "video": Video}
    if not given:
        raise InputError("nothing to answer; give --text, --audio, --image or --video")
    return [kinds[modality](value) for modality, value in given]


def _model_folder(folder: Path | None) -> Path:
    if folder is None and not DEFAULT_MODEL.is_dir():
        raise InputError(f"no model: {DEFAULT_MODEL} is not there; make it with `omni quickstart`, or give --model DIR")
    return folder or DEFAULT_MODEL
