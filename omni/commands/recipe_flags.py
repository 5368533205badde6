"""A flag for every key of a recipe, for the verbs that take one."""

import argparse
from typing import Any

PREFIX = "recipe:"


def add_recipe_flags(parser: argparse.ArgumentParser, title: str, shown: bool = True) -> None:
    """Flags --KEY VALUE, a group of their own; what is not given stays the recipe's. shown: whether help lists them"""
    from omni.train.recipe import recipe_keys

    keys = parser.add_argument_group(title)
    for key, default in recipe_keys().items():
        told = _told(default) if shown else argparse.SUPPRESS
        keys.add_argument(f"--{key}", dest=PREFIX + key, default=argparse.SUPPRESS, metavar="VALUE", help=told)


def given_keys(args: argparse.Namespace) -> dict[str, str]:
    """The keys that were given, and their values."""
    return {name.removeprefix(PREFIX): value for name, value in vars(args).items() if name.startswith(PREFIX)}


def _told(default: Any) -> str:
    if default in ([], ["."]):
        return 'a list: "[A, B]"'
    return "" if default is None else f"default: {default}".replace("%", "%%")
