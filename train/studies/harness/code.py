"""Which code measures a study's cells: that of its module and of all of ours that it imports."""

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

HARNESS = __name__.rpartition(".")[0]                                   # it measures nothing


def code_of(module: str) -> dict[str, str]:
    """{module: checksum} of a module that is loaded and of what it imports, wherever in it, of omni and of its own
    package. Comments and line breaks do not count. What every study shares, the harness, is left out.
    """
    own, found, waiting = _root(module), dict[str, str](), [module]
    roots = {module.partition(".")[0]: own, "omni": _root(__name__)}
    while waiting:
        name = waiting.pop()
        path = _source(roots[name.partition(".")[0]], name)
        if path is None or name in found or f"{name}.".startswith(f"{HARNESS}."):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        waiting += [one for one in _imports(tree, package) if one.partition(".")[0] in roots]
    return dict(sorted(found.items()))


def _root(module: str) -> Path:
    """The folder that a loaded module's name is counted from."""
    path = Path(str(sys.modules[module].__file__))
    return path.parents[module.count(".") + (path.stem == "__init__")]


def _source(root: Path, module: str) -> Path | None:
    """The file of a module; None where the name is that of something in one."""
    path = root.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((one for one in candidates if one.is_file()), None)


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Names of what is imported: of modules and, as they may be modules, of what is taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
