"""`omni chat`: a conversation with a model in the terminal."""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from omni.commands import asking
from omni.errors import InputError
from omni.shipped import NAME

if TYPE_CHECKING:
    from omni.decode.conversation import Conversation
    from omni.decode.parts import Part
    from omni.decode.pieces import Piece

DEFAULT_OUT = Path("runs/chat")
LONGEST_RECORDING = 60.0                                                # seconds
HELP = """\
what you type is said to the model; lines that begin with a slash are commands:
  /image FILE, /audio FILE, /video FILE   add a part to what is said next (an empty line says it alone)
  /record [SECONDS]                       add what the microphone hears (default: 5)
  /want LIST                              text,audio,image in any order
  /language [CODE], /voice [NAME]         of the answers; without a value the model chooses
  /reset                                  begin a new conversation
  /help, /quit                            Ctrl-D quits too, Ctrl-C stops an answer"""
EPILOG = f"""examples:
  omni chat --want text,audio --language en
  omni chat --once --image owl.png --text "What is this?" --language en
In the conversation, {HELP}
With --once, what is given is said, the answer printed, and that is all. Without --once it is put before the first line.
When the input is no terminal, each of its lines is a turn."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags: those of `omni generate`, and whether to ask just once."""
    parser.description = "Talk with a model: any mix of text, audio, pictures and video in; text, audio, a picture out."
    parser.epilog = EPILOG
    parser.add_argument("--once", action="store_true", help="ask what is given, print the answer and end")
    asking.add_given(parser)
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR",
        help="folder for sounds and pictures of the answers (default: %(default)s)",
    )  # fmt: skip
    asking.add_answer(parser)


def run(args: argparse.Namespace) -> None:
    """Talk until the input ends, or ask once."""
    how = asking.how(args)
    if args.once and not args.given:
        raise InputError("nothing to answer; give --text, --audio, --image or --video, or leave --once out")
    from omni.decode.conversation import Conversation
    from omni.decode.pipeline import Pipeline

    pipeline = Pipeline.load(args.model, args.device)
    asking.tell_unlearnt(args.model, args.language, pipeline.vocab)
    conversation = Conversation(pipeline, asking.listed(args.want), **how)
    conversation.add(*asking.parts(args.given))
    chat = Chat(conversation, args.out, args.model)
    if args.once:
        chat.answer()
    elif sys.stdin.isatty():
        print(f"{args.model or NAME}; /help lists the commands, Ctrl-D quits")
        _talk(chat)
    else:
        bad = sum(not _obey(chat, line) for line in _lines())
        if bad:
            raise InputError(f"lines of the input that could not be obeyed: {bad}; each is told above")


def _talk(chat: "Chat") -> None:
    """At a terminal, Ctrl-C stops what is going on; at the prompt it ends the conversation."""
    with suppress(ImportError):
        import readline  # noqa: F401 - gives `input` a history and keys to edit the line
    try:
        for line in _lines("> "):
            try:
                _obey(chat, line)
            except KeyboardInterrupt:
                print("(stopped)")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        print()


def _lines(prompt: str = "") -> Iterator[str]:
    """Lines of the input until it ends or one of them is /quit."""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        except UnicodeDecodeError as error:
            raise InputError(f"the input is not UTF-8 text ({error.reason}); convert it, or save it anew") from None
        if line.strip() == "/quit":
            return
        yield line


def _obey(chat: "Chat", line: str) -> bool:
    """Whether it could be; a bad line is told in one line, and the conversation goes on."""
    try:
        chat.take(line)
    except InputError as error:
        print(f"omni: {error}", file=sys.stderr)
        return False
    return True


class Chat:
    """A conversation whose answers are printed, shown, played and saved."""

    def __init__(self, conversation: "Conversation", out: Path, model: Path | None = None) -> None:
        """model: its folder, None for that of omni. Raises InputError when `out` cannot be a folder."""
        if out.exists() and not out.is_dir():
            raise InputError(f"--out {out}: a file is there; give a folder")
        self.conversation, self.out, self.model = conversation, out, model
        numbers = [path.name[:3] for path in out.glob("[0-9][0-9][0-9]-*")]
        self.number = max(map(int, numbers), default=0)                 # of the last turn; earlier files are kept

    def take(self, line: str) -> None:
        """Obey a command, or say the line."""
        from omni.decode.parts import Text

        if line.startswith("/"):
            name, _, value = line[1:].partition(" ")
            self._command(name)(value.strip())
        elif line.strip():
            self.answer(Text(line))
        elif self.conversation.added:
            self.answer()

    def answer(self, *parts: "Part") -> None:
        """Say these parts behind those that were added; print, show and save the answer while it is made."""
        before = self.conversation.forgotten
        with closing(self.conversation.say(parts)) as pieces:
            if forgotten := self.conversation.forgotten - before:
                room = self.conversation.pipeline.model.config.max_steps
                print(f"(the model's room of {room} steps is used up; oldest turns it has forgotten: {forgotten})")
            self.number += 1
            given = False
            for drawn, group in groupby(pieces, key=lambda piece: piece.image is not None):
                given, show = True, self._image if drawn else self._said
                show(group)
            if not given:
                print("(no answer)")

    def _command(self, name: str) -> Callable[[str], None]:
        from omni.decode.parts import Audio, Picture, Video

        commands: dict[str, Callable[[str], None]] = {
            "image": lambda file: self._add(Picture, file, "picture"),
            "audio": lambda file: self._add(Audio, file, "recording"),
            "video": lambda file: self._add(Video, file, "film"),
            "record": self._record,
            "want": lambda want: self.conversation.ask(asking.listed(want)),
            "language": self._speak,
            "voice": lambda name: self.conversation.ask(voice=name or None),
            "reset": lambda _: self.conversation.reset(),
            "help": lambda _: print(HELP),
        }
        if name not in commands:
            known = ", ".join(f"/{name}" for name in (*commands, "quit"))
            raise InputError(f"/{name}: no such command; use one of {known}, or a space before the slash to say it")
        return commands[name]

    def _add(self, kind: Callable[[Path], "Part"], file: str, what: str) -> None:
        if not file:
            raise InputError(f"no file; give the path of a {what}")
        self.conversation.add(kind(Path(file).expanduser()))

    def _speak(self, language: str) -> None:
        self.conversation.ask(language=language or None)
        asking.tell_unlearnt(self.model, language, self.conversation.pipeline.vocab)

    def _record(self, seconds: str) -> None:
        from omni.commands.devices import record
        from omni.decode.parts import Audio

        try:
            span = float(seconds or 5)
        except ValueError:
            span = 0.0
        if not 0 < span <= LONGEST_RECORDING:
            raise InputError(f"/record {seconds}: give seconds up to {LONGEST_RECORDING:g}, such as /record 5")
        codec = self.conversation.pipeline.tokenizers.audio
        if codec is None:
            raise InputError("this model has no audio codec; type what you want to say")
        self.conversation.add(Audio(record(span, codec.sample_rate)))

    def _said(self, pieces: "Iterator[Piece]") -> None:
        """Prints the text while it comes; saves what was spoken even when it is stopped; plays only a whole answer."""
        import numpy as np

        from omni.commands.ansi import plain
        from omni.commands.devices import play
        from omni.tokenizers.audio.wavefile import write_wave

        codec, written, waves = self.conversation.pipeline.tokenizers.audio, False, []
        try:
            for piece in pieces:
                if piece.text is not None:
                    print(plain(piece.text), end="", flush=True)
                    written = True
                elif piece.audio is not None:
                    waves.append(piece.audio)
        finally:
            if written:
                print()
            if waves and codec is not None:
                write_wave(self._path("audio.wav"), np.concatenate(waves), codec.sample_rate)
        if waves and codec is not None and sys.stdout.isatty():
            play(np.concatenate(waves), codec.sample_rate)

    def _image(self, pieces: "Iterator[Piece]") -> None:
        from omni.commands.ansi import picture
        from omni.tokenizers.image.pixels import to_pixels, write_picture

        for piece in pieces:
            assert piece.image is not None
            write_picture(self._path("image.png"), to_pixels(piece.image), scale=4)
            if sys.stdout.isatty():
                print(picture(piece.image, shutil.get_terminal_size().columns))

    def _path(self, name: str) -> Path:
        """Where a file of this turn is written; also tells so."""
        path = self.out / f"{self.number:03d}-{name}"
        print(f"written: {path}", flush=True)
        return path
