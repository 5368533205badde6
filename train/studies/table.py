"""Which studies there are. A study's module is imported only when it runs, and holds it as `STUDY`."""

import importlib
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.studies.harness.study import Study

STUDIES: dict[str, tuple[str, str]] = {                                 # name: (module, what it asks)
    "edge-of-stability": ("omni.train.studies.dynamics.edge", "where training settles, and what moves it"),
    "curvature": ("omni.train.studies.dynamics.instability", "what lets a high learning rate train"),
    "multitask": ("omni.train.studies.dynamics.multitask", "multi-task optimizers beside weighted sums"),
}


def load_study(name: str) -> "Study":
    """The study of this name. Raises InputError, with the names that there are, for another."""
    if name not in STUDIES:
        raise InputError(f"study {name}: there is none of that name; use all or one of {', '.join(STUDIES)}")
    study: Study = importlib.import_module(STUDIES[name][0]).STUDY
    return study
