"""What a user is to read, as Inspect's command shows it too: a line, and no traceback."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from inspect_ai._util.error import PrerequisiteError
from rich.markup import escape

from omni.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


class PlainError(InputError, PrerequisiteError):
    """An InputError that Inspect prints, which it does with `message` as rich's markup."""

    def __init__(self, said: str) -> None:
        Exception.__init__(self, said)
        self.message = escape(said)


def plainly(made: Callable[P, R]) -> Callable[P, R]:
    """The function, whose InputError is a PlainError: it makes what is there before any sample is asked."""

    @functools.wraps(made)
    def wrapped(*args: P.args, **given: P.kwargs) -> R:
        try:
            return made(*args, **given)
        except InputError as error:
            raise PlainError(str(error)) from None

    return wrapped
