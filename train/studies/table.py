"""Which studies there are. A study's module is imported only when it runs, and holds it as `STUDY`."""

import importlib
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.studies.harness.study import Study

STUDIES: dict[str, tuple[str, str]] = {                                 # name: (module, what it asks)
    "edge-of-stability": ("omni.train.studies.dynamics.edge", "where training settles, and what moves it"),
    "curvature": ("omni.train.studies.dynamics.instability", "what lets a high learning rate train"),
TRANSLATION = "omni.train.studies.translation"
STUDIES = {                                                             # name: (module, what it asks)
    "multilingual-scaling": (f"{TRANSLATION}.multilingual_scaling", "one law of loss by size for every mixture?"),
    "order-matters": (f"{TRANSLATION}.order_matters", "pretraining before a mixture, or a fixed mixture?"),
    "epsilon-mbr": (f"{TRANSLATION}.epsilon_mbr", "which samples are the best candidates for MBR?"),
    "data-scaling": (f"{TRANSLATION}.data_scaling", "how does loss fall with the number of training pairs?"),
    "lm-architectures": (f"{TRANSLATION}.architectures", "masks and losses of language models as translators"),
}


def load_study(name: str) -> "Study":
    """The study of this name. Raises InputError, with the names that there are, for another."""
    if name not in STUDIES:
        raise InputError(f"study {name}: there is none of that name; use all or one of {', '.join(STUDIES)}")
    study: Study = importlib.import_module(STUDIES[name][0]).STUDY
    return study
