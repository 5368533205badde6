"""`omni card sign`: signed provenance (C2PA) in a generated file."""

import argparse
from pathlib import Path

from omni.shipped import NAME

KEYS = Path.home() / ".config" / "omni" / "c2pa"                        # certificate.pem and key.pem
EPILOG = """example:
  omni card sign answer.wav --out signed.wav"""


def configure(parser: argparse.ArgumentParser) -> None:
    """What is signed, and by whom."""
    parser.description = "Write a copy of a WAV, PNG, JPEG or MP3 file that says, signed, that a model generated it."
    parser.epilog = EPILOG
    parser.add_argument("file", type=Path, metavar="FILE", help="what a model generated")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the signed copy")
    parser.add_argument("--model", default=NAME, help="which model (default: %(default)s)")
    parser.add_argument(
        "--keys", type=Path, metavar="FOLDER", default=KEYS,
        help="certificate.pem and key.pem, made there where missing (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Sign and say where the copy is."""
    from omni.safety.provenance import sign

    sign(args.file, args.out, args.keys, args.model)
    print(f"signed: {args.out} (certificate: {args.keys / 'certificate.pem'})")
