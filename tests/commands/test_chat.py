import io
import os
import pty
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from omni.cli import main
from omni.commands import ansi, devices
from omni.commands.chat import Chat
from omni.decode.conversation import Conversation
from omni.decode.parts import Text
from omni.decode.pieces import Piece
from omni.decode.pipeline import Pipeline
from omni.errors import InputError

Model = Callable[..., Path]
Talk = Callable[..., int]
BRIEF = ["--max-tokens", "6", "--max-seconds", "0.1"]


@pytest.fixture
def talk(models: Model, files: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Run the verb on lines that are piped in."""

    def run(lines: str, *flags: str) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        return main(["chat", "--model", str(models("flat")), "--out", str(files / "out"), *BRIEF, *flags])

    return run


def test_once_prints_the_answer_and_where_its_files_are(
    talk: Talk, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--image", str(files / "p.png"), "--audio", str(files / "q.wav"), "--text", "what?"]
    assert talk("", "--once", *given, "--want", "audio,image", "--language", "fr") == 0
    wave, rate = soundfile.read(files / "out" / "001-audio.wav")
    assert rate == 16000 and 0 < len(wave) <= 1600
    assert Image.open(files / "out" / "001-image.png").size == (64, 64)
    assert capsys.readouterr().out.splitlines() == [
        f"written: {files}/out/001-audio.wav", f"written: {files}/out/001-image.png"
    ]  # fmt: skip


def test_once_says_what_generate_says(
    talk: Talk, models: Model, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk("", "--once", "--text", "owl", "--temperature", "0") == 0
    said = capsys.readouterr().out
    common = ["--text", "owl", "--temperature", "0", *BRIEF]
    assert main(["generate", *common, "--model", str(models("flat")), "--out", str(files / "x")]) == 0
    text = (files / "x" / "answer.txt").read_text("utf-8")
    assert said in (ansi.plain(text), "(no answer)\n")


def test_each_piped_line_is_a_turn_and_bad_ones_are_told_and_counted(
    talk: Talk, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = f"""hello
/image {files}/p.png
/video {files}/v.gif

/sing
/image {files}/none.png
/audio
/language tlh
/want text,smell
/record soon
/want audio
/voice anna
 /hello

/reset
/help
owl
/quit
never said
"""
    assert talk(lines) == 2
    captured = capfd.readouterr()
    errors = ["/sing: no such command", "none.png: no such file", "no file; give", "its languages are en, fr",
              "want=text,smell", "/record soon: give seconds", "could not be obeyed: 6"]  # fmt: skip
    told = captured.err.splitlines()
    assert len(told) == len(errors)
    assert all(line.startswith("omni: ") and error in line for line, error in zip(told, errors, strict=True))
    assert sorted(path.name for path in (files / "out").iterdir()) == ["003-audio.wav", "004-audio.wav"]
    assert "/record [SECONDS]" in captured.out


def test_numbers_go_on_behind_the_files_of_earlier_conversations(talk: Talk, files: Path) -> None:
    for _ in range(2):
        assert talk("owl\n", "--want", "audio") == 0
    assert sorted(path.name for path in (files / "out").iterdir()) == ["001-audio.wav", "002-audio.wav"]


def test_a_full_room_is_told_in_one_line(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk("an owl and a bell, and an owl and a bell, and an owl and a bell\n" * 5) == 0
    assert capsys.readouterr().out.count("(the model's room of 256 steps is used up; oldest turns") == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--once"], "nothing to answer; give --text"),
        (["--once", "--text", "x" * 900], "the prompt takes"),
        (["--once", "--image", "{}/none.png"], "none.png: no such file"),
        (["--language", "tlh"], "its languages are en, fr"),
        (["--want", "smell"], "want=smell: must be"),
        (["--top-k", "-1"], "top_k=-1"),
        (["--out", "{}/p.png"], "p.png: a file is there"),
        (["--model", "{}/nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    flags: list[str], line: str, talk: Talk, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert talk("hello\n", *(flag.format(files) for flag in flags)) == 2
    error = capfd.readouterr().err
    assert error.startswith("omni: ") and error.count("\n") == 1 and line in error


def test_an_interrupt_keeps_what_was_said(models: Model, tmp_path: Path) -> None:
    conversation = Conversation(Pipeline.load(models("flat")), ["audio"], max_seconds=0.4)
    chat = Chat(conversation, tmp_path)
    say = conversation.say

    def interrupted(parts: list[Text]) -> object:
        pieces = say(parts)
        yield from (next(pieces) for _ in range(3))
        pieces.close()
        raise KeyboardInterrupt

    conversation.say = interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        chat.take("owl")
    frames = len(conversation.turns[0][1].codes)
    assert frames == 3 and len(soundfile.read(tmp_path / "001-audio.wav")[0]) == 3 * 320


def test_sentences_are_one_line_and_one_recording(
    models: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation = Conversation(Pipeline.load(models("flat")), ["text", "audio"])
    sound = np.full(320, 0.25, np.float32)
    pieces = [Piece("One."), Piece(audio=sound), Piece(audio=sound), Piece(" Two."), Piece(audio=sound)]
    conversation.say = lambda parts: (piece for piece in pieces)  # type: ignore[method-assign, assignment]
    Chat(conversation, tmp_path).take("owl")
    assert capsys.readouterr().out == f"One. Two.\nwritten: {tmp_path}/001-audio.wav\n"
    assert len(soundfile.read(tmp_path / "001-audio.wav")[0]) == 3 * 320


def test_at_a_terminal_a_picture_is_shown_and_ctrl_c_ends_with_130(models: Model, tmp_path: Path) -> None:
    keyboard, terminal = pty.openpty()
    words = ["chat", "--model", str(models("flat")), "--out", str(tmp_path), "--want", "image"]
    process = subprocess.Popen(
        [sys.executable, "-m", "omni.cli", *words], stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever started the tests may ignore it
    )  # fmt: skip
    os.close(terminal)
    try:
        assert "/help lists the commands" in until(keyboard, b"> ")
        os.write(keyboard, b"owl\n")
        assert "\x1b[38;2;" in until(keyboard, b"\x1b[0m\r\n> ")
        assert interrupt(process, keyboard) == 130
    finally:
        process.kill()
        os.close(keyboard)
    assert (tmp_path / "001-image.png").exists()


def interrupt(process: subprocess.Popen[bytes], keyboard: int) -> int:
    """One Ctrl-C: readline sees one between showing its prompt and waiting for a key at the next key only.

    Never a second: one that meets an interpreter on its way out ends it by the signal, not with the exit code.
    """
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(5)
    with suppress(OSError):                                             # it ended meanwhile
        os.write(keyboard, b"\n")
    return process.wait(60)


def until(terminal: int, end: bytes) -> str:
    """What the terminal shows until it shows `end`."""
    shown = b""
    while end not in shown:
        shown += os.read(terminal, 4096)
    return shown.decode()


def test_a_known_picture_in_half_blocks() -> None:
    red, blue, grey = (255, 0, 0), (0, 0, 255), (9, 9, 9)
    pixels = np.array([[red, blue], [blue, blue], [grey, red]], np.uint8)
    assert ansi.picture(pixels, columns=80) == (
        "\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀\x1b[38;2;0;0;255m\x1b[48;2;0;0;255m▀\x1b[0m\n"
        "\x1b[38;2;9;9;9m\x1b[48;2;9;9;9m▀\x1b[38;2;255;0;0m\x1b[48;2;255;0;0m▀\x1b[0m"
    )
    wide = ansi.picture(np.zeros((64, 64, 3), np.uint8), columns=20)
    assert [line.count("▀") for line in wide.splitlines()] == [20] * 10


def test_text_cannot_steer_the_terminal() -> None:
    assert ansi.plain("a\x1b[2J\tb\r\n\u200dé\x9b") == "a[2J\tb\n\u200dé"


class Sound(types.ModuleType):
    """sounddevice on a machine with a microphone that hears a tone, or with no devices at all."""

    PortAudioError = RuntimeError

    def __init__(self, there: bool) -> None:
        super().__init__("sounddevice")
        self.there, self.played = there, 0

    def check_input_settings(self, **settings: object) -> None:
        if not self.there:
            raise self.PortAudioError("Error querying device -1")

    def rec(self, frames: int, **settings: object) -> np.ndarray:
        return np.full((frames, 1), 0.1, np.float32)

    def play(self, wave: np.ndarray, rate: int) -> None:
        self.check_input_settings()
        self.played = len(wave)

    def wait(self) -> None: ...

    def stop(self) -> None: ...


def test_a_microphone_is_heard_and_a_missing_one_named(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wave = np.zeros(9, np.float32)
    for there in (True, False):
        monkeypatch.setitem(sys.modules, "sounddevice", sound := Sound(there))
        devices.play(wave, 16000)
        assert sound.played == (9 if there else 0)
        assert talk("/record 0.1\n\n") == (0 if there else 2)
        error = capfd.readouterr().err
        assert error.count("\n") == (0 if there else 2) and ("no microphone can be used" in error) != there
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    devices.play(wave, 16000)
    with pytest.raises(InputError, match="needs the package sounddevice"):
        devices.record(1, 16000)
