"""The `omni` command before any work is done: help, version, wrong words."""

import subprocess
import sys

import pytest

from omni import __version__
from omni.cli import VERBS

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


def omni(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=False)


def test_help_lists_every_verb_and_loads_nothing_heavy() -> None:
    done = omni("--help")
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout and what in done.stdout for verb, what in VERBS.items())
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_an_example_and_loads_nothing_heavy(verb: str) -> None:
    done = omni(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"omni {verb}" in done.stdout.split("example", 1)[-1], "the epilog shows an example"
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_version() -> None:
    assert omni("--version").stdout.startswith(f"omni {__version__}")


WRONG = [(), ("sing",), ("data", "sing"), ("quickstart", "--minutes", "nan"), ("plan", "--x")]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_are_refused_in_one_line(words: tuple[str, ...]) -> None:
    done = omni(*words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("omni")
    assert "Traceback" not in done.stderr
