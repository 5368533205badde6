"""The repository as a whole: its layout, what its files may hold, and what they may import."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("tokenizers", "train", "eval", "safety", "checkpoints")
CODE = ("omni", "tests", *LINKED[:-1])
CLIENTS = ROOT / "tests" / "live" / "clients"
LONGEST_FILE = 320                                                      # lines; "about 300" in CONTRIBUTING.md
FOREIGN = re.compile(r"://|/(?:home|root|Users|opt|mnt|srv|work)/[\w.]|--(?:extra-)?index-url|--find-links")
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}


def files(*patterns: str) -> list[Path]:
    """Files of the project that match, each once (by its real path), build outputs and caches left out."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [path for line in found if (path := ROOT / line).is_file()]


def python_files() -> list[Path]:
    return files(*(f"{folder}/*.py" for folder in CODE))


def imports(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Every import of a file: line, module with a dot for each relative level, imported names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def test_links_are_relative_and_lead_to_the_top_level_folders() -> None:
    for name in LINKED:
        link = ROOT / "omni" / name
        assert link.is_symlink(), f"omni/{name} must be a symbolic link"
        assert str(link.readlink()) == f"../{name}"
        assert (ROOT / name).is_dir(), f"{name}/ is missing, so omni/{name} leads nowhere"
        assert not (ROOT / name / "__init__.py").exists(), f"{name}/__init__.py would shadow other packages"


@pytest.mark.parametrize("package", ["tokenizers", "transformers"])
def test_hugging_face_is_importable_from_the_root(package: str) -> None:
    code = f"import {package}; print({package}.__file__, {package}.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(ROOT / package) not in done.stdout


def test_our_code_is_imported_by_one_name_only() -> None:
    """`train.engine` and `omni.train.engine` would be two modules with two states."""
    wrong = []
    for path in python_files():
        for line, module, names in imports(path):
            head, _, rest = module.partition(".")
            ours = {rest.split(".")[0]} if rest else set(names)
            hugging_face = head == "tokenizers" and not any(_is_ours("tokenizers", name) for name in ours)
            neighbour = module.startswith(".") and "tests" in path.parts    # tests have no other name for each other
            if (module.startswith(".") and not neighbour) or (head in LINKED and not hugging_face):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module}")
    assert not wrong, "write omni.… instead: " + ", ".join(wrong)


def _is_ours(folder: str, name: str) -> bool:
    return (ROOT / folder / name).is_dir() or (ROOT / folder / f"{name}.py").is_file()


def test_nothing_unpickles() -> None:
    """Weights are safetensors; a pickle is a program, and somebody else's checkpoint would run it."""
    wrong = []
    for path in python_files():
        wrong += [
            f"{path.relative_to(ROOT)}:{line}: {module}"
            for line, module, _ in imports(path)
            if module.split(".")[0] in UNPICKLERS
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _unpickles(node):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, ", ".join(wrong)


def _unpickles(call: ast.Call) -> bool:
    def is_true(name: str) -> bool:
        return any(word.arg == name and not (isinstance(word.value, ast.Constant) and not word.value.value)
                   for word in call.keywords)  # fmt: skip

    weights_only = any(word.arg == "weights_only" for word in call.keywords) and is_true("weights_only")
    return is_true("allow_pickle") or (ast.unparse(call.func) == "torch.load" and not weights_only)


def test_files_are_short_enough_to_read() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    long = {str(path): length for path, length in lengths.items() if length > LONGEST_FILE}
    assert not long, f"split these by subject: {long}"


def test_nothing_names_a_machine() -> None:
    """Neither code nor configuration holds a machine's paths or a package index's address."""
    configuration = files("*.txt", "*.toml", "*.yaml", "Makefile", ".ci/*", "scripts/*")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in {*python_files(), *configuration, *files("*.md")}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := FOREIGN.search(line)) and not (found[0] == "://" and path not in configuration)
    ]
    assert not wrong, "\n".join(wrong)


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared(*extras: str) -> set[str]:
    """Names of the distributions that pyproject.toml asks for, with these extras."""
    project = settings()["project"]
    lines = sum((project["optional-dependencies"][extra] for extra in extras), project["dependencies"])
    return {canonical(re.split(r"[\[<>=!~ ]", line)[0]) for line in lines}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_declared_dependency_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+]+", line)] == []
    pinned = {canonical(line.split("==")[0]) for line in lines}
    asked = declared("eval", "live", "sources", "ray", "studies", "dev") - {"omni"}  # dev asks for omni's own extras
    assert asked - pinned == set()


def test_every_imported_package_is_declared() -> None:
    """What comes only with another package leaves when that package changes its mind."""
    distributions = packages_distributions()
    helpers = [ROOT / folder for folder in settings()["tool"]["pytest"]["ini_options"]["pythonpath"]]
    wrong = []
    for path in python_files():
        extras = ("eval", "live", "sources", "ray", "studies", *(["dev"] if "tests" in path.parts else []))
        if CLIENTS in path.parents:                                     # they run where clients/requirements.txt is
            continue
        allowed = declared(*extras)
        for line, module, _ in imports(path):
            name = module.split(".")[0]
            near = [path.parent, *(helpers if "tests" in path.parts else [])]
            beside = any((folder / f"{name}.py").exists() for folder in near) or (path.parent / name).is_dir()
            beside = beside or path.parent.name == name
            if name in sys.stdlib_module_names or name in ("", "omni") or beside:
                continue
            if not allowed & {canonical(found) for found in distributions.get(name, [name])}:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module}")
    assert not wrong, "declare these in pyproject.toml: " + ", ".join(wrong)


def test_links_in_the_documents_lead_somewhere() -> None:
    wrong = []
    for page in files("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", text):
            name = "".join(target)
            if "://" not in name and not (page.parent / name).exists():
                wrong.append(f"{page.relative_to(ROOT)}: {name}")
    assert not wrong, ", ".join(wrong)


def test_layers_are_kept() -> None:
    """import-linter's contract (pyproject.toml), and that it knows every part of omni/."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-logo', '--no-cache'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tools = settings()["tool"]
    known = set(re.findall(r"[\w.]+", " ".join(tools["importlinter"]["contracts"][0]["layers"])))
    parts = {f"omni.{path.stem}" for path in (ROOT / "omni").iterdir() if not path.name.startswith("__")}
    assert parts - known - {"omni.checkpoints"} == set()
