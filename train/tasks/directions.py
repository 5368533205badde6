"""Translation by direction: English into French as a task of its own, instead of a part of `translate`."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from omni.errors import InputError
from omni.train.data.items import Item
from omni.train.tasks.templates import TASKS, Task

TRANSLATE = "translate"


def tasks_by(names: Sequence[str], languages: Collection[str]) -> tuple[Task, ...]:
    """All tasks; of names such as "en-fr", with `translate_en-fr` and the like in the place of `translate`.

    Raises InputError for a name that is not two of the languages.
    """
    found: list[Task] = []
    for task in TASKS:
        ways = dict.fromkeys(names) if task.name == TRANSLATE else {}   # twice the same is once
        directed = [replace(task, name=f"{TRANSLATE}_{way}", direction=direction(way, languages)) for way in ways]
        found += directed or [task]
    return tuple(found)


def direction(name: str, languages: Collection[str]) -> tuple[str, str]:
    """("en", "pt-br") of "en-pt-br". Raises InputError unless both are among the languages, and differ."""
    cuts = list(_cuts(name))
    for given, wanted in cuts:
        if given in languages and wanted in languages and given != wanted:
            return given, wanted
    if not cuts or any(given == wanted for given, wanted in cuts):
        raise InputError(f"direction {name!r}: must be two different languages, such as en-fr")
    given, wanted = cuts[0]
    missing = wanted if given in languages else given
    raise InputError(f"direction {name!r}: no language {missing!r}; there are {', '.join(sorted(languages))}")


def check_pairs(tasks: Sequence[Task], items: Sequence[Item]) -> None:
    """Raises InputError where a direction has nothing to learn from, as its languages never meet in an item."""
    for task in tasks:
        if task.direction and not any(True for item in items for _ in task.examples(item, task.direction, 0)):
            way = "-".join(task.direction)
            raise InputError(f"direction {way!r}: no item to train on has a text in both; name other languages")


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """Before and behind each hyphen, of which languages may have some too."""
    for place, letter in enumerate(name):
        if letter == "-" and name[:place] and name[place + 1 :]:
            yield name[:place], name[place + 1 :]
