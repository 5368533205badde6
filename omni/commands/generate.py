"""`omni generate`: ask a model something and keep what it says, speaks and draws."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from omni.commands import asking
from omni.commands.card_sign import KEYS
from omni.errors import InputError
from omni.shipped import FOLDER, NAME, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from omni.decode.answer import Answer
    from omni.decode.mbr.speech import Speech
    from omni.decode.mbr.utilities import Utility
    from omni.decode.pipeline import How, Pipeline

EPILOG = """examples:
  omni generate --image owl.png --want text,audio --language fr --out answer
  omni generate --audio question.wav --text "Say it in Spanish." --want audio --language es --out answer
  omni generate --text "Say hello." --want text,audio --sign --out answer
  omni generate --text "a red apple" --language fr --mbr 64 --epsilon 0.02 --temperature 1 --out answer
What is given is put before the model in the order of the flags. The answer's parts come in the order of --want."""
SOUNDS = ("quality", "speaker")                                         # utilities of sounds


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags: what is given, what is wanted, and how it is drawn."""
    parser.description = "Any mix of text, audio, pictures and video in; text, audio and a picture out."
    parser.epilog = EPILOG
    asking.add_given(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answer's files")
    asking.add_answer(parser)
    parser.add_argument(
        "--sign", type=Path, nargs="?", const=KEYS, metavar="KEYS",
        help="sign sound and picture as generated (C2PA), with certificate.pem and key.pem of this folder, made there"
        f" where missing ({KEYS} where none is named)",
    )  # fmt: skip
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--mbr", type=int, metavar="N", help="draw N answers, take the one that agrees best with all of them"
    )
    parser.add_argument(
        "--utility", default="chrf", metavar="NAME",
        help="how --mbr compares words: chrf, bleu, words, or the folder of a sentence encoder; or sounds of any"
        " language: quality (DNSMOS), speaker (default: %(default)s)",
    )  # fmt: skip
    less = parser.add_mutually_exclusive_group()
    less.add_argument("--prune", action="store_true", help="of --mbr: give up answers that hardly can be the best")
    less.add_argument("--coarse", type=int, metavar="K", help="of --mbr: compare the K best by chrF with --utility")
    less.add_argument("--aggregate", action="store_true", help="of --mbr: compare with all answers' mean, for large N")
    several.add_argument("--beams", type=int, default=0, metavar="N", help="the likeliest text, by a beam of N <= 128")
    parser.add_argument("--penalty", type=float, default=1.0, metavar="P",
                        help="of --beams: log-probability over tokens to this power (default: 1)")  # fmt: skip
    parser.add_argument("--best", type=int, default=1, metavar="K", help="of --beams: print the K best texts")


def run(args: argparse.Namespace) -> None:
    """Answer, save the answer, print its text and where the rest is."""
    from omni.decode.pipeline import Pipeline

    how = asking.how(args)
    if not args.given:
        raise InputError("nothing to answer; give --text, --audio, --image or --video")
    _check_mbr(args)
    if (args.penalty, args.best) != (1.0, 1) and not args.beams:
        raise InputError("--penalty, --best: of a beam search; give --beams N, too")
    want = asking.listed(args.want)
    if args.sign is not None:
        _check_keys(args.sign, want)
    pipeline = Pipeline.load(args.model, args.device)
    asking.tell_unlearnt(args.model, args.language, pipeline.vocab)
    answer, *others = _answers(pipeline, args, want, how)
    asked = [{"modality": modality, "value": str(value)} for modality, value in args.given]
    several = {"mbr": args.mbr or 0, "utility": args.utility, "prune": args.prune, "coarse": args.coarse or 0}
    several |= {"aggregate": args.aggregate, "beams": args.beams}
    several |= {"penalty": args.penalty, "others": [other.text for other in others]} if args.beams else {}
    sampling = {**asdict(asking.sampler(args)), "seed": args.seed, **several}
    paths = answer.save(
        args.out, model=NAME if args.model in (None, FOLDER) else str(args.model), asked=asked, want=want,
        language=args.language, voice=args.voice, max_seconds=args.max_seconds, max_tokens=args.max_tokens,
        sampling=sampling,
    )  # fmt: skip
    if args.sign is not None:
        _sign(paths, args)
    for one in (answer, *others):
        if one.text is not None:
            print(one.text)
    print("written: " + ", ".join(map(str, paths)))


def _check_keys(keys: Path, want: list[str]) -> None:
    """Before anything is generated. Raises InputError where nothing could be signed."""
    from omni.safety.provenance import check

    if not {"audio", "image"} & set(want):
        raise InputError("--sign: signs sound and pictures; ask for --want audio or image, too")
    check(keys)


def _sign(paths: "Sequence[Path]", args: argparse.Namespace) -> None:
    """Sign in place those of the files that carry a manifest."""
    from omni.safety.provenance import KINDS, sign

    for path in paths:
        if path.suffix in KINDS:
            sign(path, path, args.sign, title(args.model or FOLDER))


def _check_mbr(args: argparse.Namespace) -> None:
    """Raises InputError for a number that is none, for flags of --mbr without it, and where all answers are one."""
    for flag, number, least in (("--mbr", args.mbr, 2), ("--coarse", args.coarse, 1)):
        if number is not None and number < least:
            raise InputError(f"{flag} {number}: must be {least} or more answers")
    others = {"--prune": args.prune, "--coarse": args.coarse, "--aggregate": args.aggregate}
    others[f"--utility {args.utility}"] = args.utility != "chrf"
    for flag, given in others.items():
        if given and args.mbr is None:
            raise InputError(f"{flag}: compares the answers of --mbr; give --mbr N, too")
    if args.mbr is not None:
        from omni.decode.mbr.answers import check_name

        check_name(args.utility, SOUNDS)
        if asking.sampler(args).greedy:
            raise InputError(
                f"--mbr {args.mbr}: at --temperature 0 or --top-k 1 all {args.mbr} answers are the same; use"
                " --temperature 1, or leave --mbr out"
            )


def _answers(pipeline: "Pipeline", args: argparse.Namespace, want: list[str], how: "How") -> "list[Answer]":
    """The answer, and behind it the next best ones where they are asked for."""
    parts = asking.parts(args.given)
    if args.mbr:
        less = (args.prune, args.coarse or 0, args.aggregate)
        return [pipeline.best_of(parts, want, args.mbr, _utility(args.utility), *less, **how)]
    if args.beams:
        if want != ["text"]:
            raise InputError(f"--beams searches for a text; use --want text, not {','.join(want)}")
        return pipeline.most_probable(parts, args.beams, args.penalty, args.best, **how)
    return [pipeline(parts, want, **how)]


def _utility(name: str) -> "str | Utility[Speech]":
    """A utility of sounds by its name; the name of any other."""
    if name == "quality":
        from omni.decode.mbr.speech import quality

        return quality
    if name == "speaker":
        from omni.decode.mbr.embedding import cosine

        return cosine(_voices)
    return name


def _voices(clips: "Sequence[Speech]") -> "NDArray[np.float32]":
    """Who speaks in each clip, by Resemblyzer's encoder: [clips, WIDTH], zeros where nobody does."""
    import numpy as np

    from omni.decode.mbr.speech import RATE
    from omni.safety.guards.embedding import WIDTH, Voiceprint

    heard = [Voiceprint(RATE).feed(clip.wave) for clip in clips]        # [embeddings, WIDTH] each
    return np.stack([one.mean(axis=0) if len(one) else np.zeros(WIDTH, np.float32) for one in heard])
