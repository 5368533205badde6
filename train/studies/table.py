"""Which studies there are. A study's module is imported only when it runs, and holds it as `STUDY`."""

import importlib
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.studies.harness.study import Study

TRANSLATION, DYNAMICS = "omni.train.studies.translation", "omni.train.studies.dynamics"
STUDIES = {                                                             # name: (module, what it asks)
    "multilingual-scaling": (f"{TRANSLATION}.multilingual_scaling", "one law of loss by size for every mixture?"),
    "order-matters": (f"{TRANSLATION}.order_matters", "pretraining before a mixture, or a fixed mixture?"),
    "epsilon-mbr": (f"{TRANSLATION}.epsilon_mbr", "which samples are the best candidates for MBR?"),
    "binary": (f"{TRANSLATION}.binary", "one bit a weight, and what it needs for that"),
    "data-scaling": (f"{TRANSLATION}.data_scaling", "how does loss fall with the number of training pairs?"),
    "lm-architectures": (f"{TRANSLATION}.architectures", "masks and losses of language models as translators"),
    "ablations": ("omni.train.studies.tiny.ablations", "what is each choice of omni-tiny's recipe worth?"),
    "rates": ("omni.train.studies.rates.rates", "which frame rate, by what a model makes of the codes?"),
    "limits": ("omni.train.studies.limits.limits", "would more data bring omni-tiny to its goals?"),
    "edge-of-stability": (f"{DYNAMICS}.edge", "where does training settle, and what moves it?"),
    "curvature": (f"{DYNAMICS}.instability", "what lets a high learning rate train?"),
    "multitask": (f"{DYNAMICS}.multitask", "do multi-task optimizers beat weighted sums?"),
    "multitask-translation": (f"{TRANSLATION}.multitask", "do they beat them in translation?"),
}


def load_study(name: str) -> "Study":
    """The study of this name. Raises InputError, with the names that there are, for another."""
    if name not in STUDIES:
        raise InputError(f"study {name}: there is none of that name; use all or one of {', '.join(STUDIES)}")
    study: Study = importlib.import_module(STUDIES[name][0]).STUDY
    return study
