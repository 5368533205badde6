"""The `omni` command before any work is done: help, version, wrong words."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import omni
from omni import __version__
from omni.cli import VERBS, main

HEAVY = ("torch", "numpy", "scipy", "transformers", "tokenizers", "deepspeed", "matplotlib", "jsonargparse")
PROBE = f"""
import sys
from omni.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("loaded:", *sorted(set(sys.modules) & {set(HEAVY)!r}))
sys.exit(code)
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=False)


def test_help_lists_every_verb_and_loads_nothing_heavy() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout and what in done.stdout for verb, what in VERBS.items())
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_an_example_and_loads_nothing_heavy(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"omni {verb}" in done.stdout.split("example", 1)[-1], "the epilog shows an example"
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_version() -> None:
    assert run("--version").stdout.startswith(f"omni {__version__}")


WRONG = [(), ("sing",), ("data", "sing"), ("quickstart", "--minutes", "nan"), ("plan", "--x")]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_are_refused_in_one_line(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("omni")
    assert "Traceback" not in done.stderr


def test_a_file_in_the_way_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "runs.json").write_text(json.dumps([{"size": 2**n, "loss": 1 + 2**-n} for n in range(6)]))
    words = ["scaling", "fit", str(tmp_path / "runs.json"), "--law", "power", "--resamples", "10"]
    assert main([*words, "--out", str(tmp_path / "file/fit.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"omni: {tmp_path / 'file'}: ") and error.count("\n") == 1
    assert "in the way; name another" in error


def test_ctrl_c_while_a_verb_is_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("omni.commands.plan.configure", interrupted)
    assert main(["plan", "7b"]) == 130
    assert capsys.readouterr().err == "omni: interrupted; run the same command again to go on\n"


def test_the_public_names_are_completed() -> None:
    assert {*omni.__all__} <= {*dir(omni)}


def test_what_torch_says_of_enums_of_others_is_not_printed_and_the_rest_is() -> None:
    program = """
import enum
import omni
from torch.utils import _pytree

class Kind(enum.Enum):
    ONE = 1
    __hash__ = enum.Enum.__hash__
    def __eq__(self, other):
        return self is other

_pytree.register_constant(Kind)
_pytree.log.warning("anything else")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert "anything else" in line
