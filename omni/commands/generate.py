"""`omni generate`: ask a model something and keep what it says, speaks and draws."""

import argparse
from dataclasses import asdict
from pathlib import Path

from omni.commands import asking
from omni.errors import InputError

EPILOG = """examples:
  omni generate --image owl.png --want text,audio --language fr --out answer
  omni generate --audio question.wav --text "Say it in Spanish." --want audio --language es --out answer
What is given is put before the model in the order of the flags. The answer's parts come in the order of --want."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags: what is given, what is wanted, and how it is drawn."""
    parser.description = "Any mix of text, audio, pictures and video in; text, audio and a picture out."
    parser.epilog = EPILOG
    asking.add_given(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answer's files")
    asking.add_answer(parser)


def run(args: argparse.Namespace) -> None:
    """Answer, save the answer, print its text and where the rest is."""
    from omni.decode.pipeline import Pipeline

    how = asking.how(args)
    if not args.given:
        raise InputError("nothing to answer; give --text, --audio, --image or --video")
    want = asking.listed(args.want)
    pipeline = Pipeline.load(args.model)
    answer = pipeline(asking.parts(args.given), want, **how)
    asked = [{"modality": modality, "value": str(value)} for modality, value in args.given]
    sampling = {**asdict(asking.sampler(args)), "seed": args.seed}
    paths = answer.save(args.out, asked=asked, want=want, language=args.language, voice=args.voice, sampling=sampling)
    if answer.text is not None:
        print(answer.text)
    print("written: " + ", ".join(map(str, paths)))
