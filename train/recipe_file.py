"""A recipe's YAML as nested dictionaries, and errors about it in one line."""

import difflib
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from omni.errors import InputError


def find_recipe(path: Path | str) -> Path:
    """A recipe file, or one of the package's own: `tiny`, or, where there is no such file, `recipes/tiny.yaml`."""
    path = Path(path)
    own = Path(__file__).parent / "recipes"
    bare = str(path.parent) in (".", "recipes") and path.suffix in ("", ".yaml")
    if not path.exists() and bare and (own / f"{path.stem}.yaml").is_file():
        return own / f"{path.stem}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in own.glob("*.yaml")))
        raise InputError(f"{path}: no such recipe; name a YAML file or one of {names}")
    return path


def read(path: Path) -> dict[str, Any]:
    """The mapping in a file. Raises InputError when it holds something else."""
    import yaml

    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _once(path.name))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        raise InputError(f"{path.name}: not valid YAML{line}; see docs/training.md for an example") from None
    if not isinstance(values, dict):
        raise InputError(f"{path.name}: not a mapping of keys to values; see docs/training.md for an example")
    return values


def _once(origin: str) -> Any:
    """YAML's safe loader, which by itself takes the last of a key that is there twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if key.tag == "tag:yaml.org,2002:str"]
            for key, _ in node.value:
                if names.count(key.value) > 1:
                    line = key.start_mark.line + 1
                    raise InputError(f"{origin}: {key.value}: is there twice, in line {line} too; keep one")
            return super().construct_mapping(node, deep)

    return Loader


def put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a nested key to a value, or to what its spelling means in YAML."""
    import yaml

    for number, key in enumerate(keys[:-1], start=1):
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise InputError(f"{'.'.join(keys)}: unknown key; {'.'.join(keys[:number])} is one value")
    try:
        values[keys[-1]] = yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        raise InputError(f"{'.'.join(keys)}: not a value of YAML: {value!r}") from None


def check_keys(kind: type, values: dict[str, Any], origin: str, prefix: str) -> None:
    """Raises InputError for a key that the dataclass `kind` does not have, with the closest one."""
    known = {entry.name: entry for entry in fields(kind)}
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            mend = f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
            raise InputError(f"{origin}: {prefix}{key}: unknown key; {mend}")
        inner = known[key].default_factory
        if isinstance(inner, type) and is_dataclass(inner):
            if not isinstance(value, dict):
                raise InputError(f"{origin}: {prefix}{key}: must be a mapping of keys to values, got {value!r}")
            check_keys(inner, value, origin, f"{prefix}{key}.")
        elif value is None and type(None) not in get_args(known[key].type):
            raise InputError(f"{origin}: {prefix}{key}: has no value; give one, or leave the key out")
        elif isinstance(value, list):
            _check_each(known[key].type, value, origin, f"{prefix}{key}")


def _check_each(kind: Any, values: list[Any], origin: str, key: str) -> None:
    """`check_keys` for a list of dataclasses."""
    (inner,) = get_args(kind)[:1] or (None,)
    if not (isinstance(inner, type) and is_dataclass(inner)):
        return
    needed = [one.name for one in fields(inner) if one.default is MISSING and one.default_factory is MISSING]
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise InputError(f"{origin}: {key}: number {number} must be a mapping of keys to values, got {value!r}")
        if missing := [name for name in needed if name not in value]:
            raise InputError(f"{origin}: {key}: number {number} needs {', '.join(missing)}")
        check_keys(inner, value, origin, f"{key}.{number}.")


def brief(message: str) -> str:
    """jsonargparse's paragraph as one line: `optimizer.lr: expected float, got 'fast'`."""
    key = re.search(r'key "([^"]+)"', message)
    expected = re.findall(r"Expected an? ([^.\n]*(?:\.\w[^.\n]*)?)", message)
    wanted = " or ".join(re.sub(r"<class '(\w+)'>", r"\1", text).replace("typing.", "") for text in expected)
    got = re.search(r"(?:Got value|Given value): (.+)", message)
    if not key or not wanted:
        return " ".join(message.split())
    said = f"{key[1]}: expected {wanted}" + (f", got {got[1]!r}" if got else "")
    return said + (f'; write "[{got[1]}]"' if got and wanted == "list" and not got[1].startswith("[") else "")
