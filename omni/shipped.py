"""The model that comes with omni, in checkpoints/omni-tiny."""

from pathlib import Path

from omni.errors import InputError

NAME = "omni-tiny"
MARK = "checksums.json"                                                 # which every model's folder has
TRAINED = (                                                             # hours on the clock and cores, None for a GPU
    ("training of the model", 17 / 60, None),
    ("its last 700 steps", 43 / 60, 2),
    ("training of the encoder of words", 3.5 / 60, None),
    ("voices of the training data", 11 / 60, 2), ("training data to tokens", 40 / 60, 2),
)  # fmt: skip
FOLDER = Path(__file__).parent / "checkpoints" / NAME


def named_model(name: str | Path) -> Path:
    """The folder of `omni-tiny`, or any other by its path; of a run, that of its model."""
    if str(name) == NAME:
        return shipped_model()
    folder = Path(name)
    of_run = folder / "model"
    return of_run if not (folder / MARK).is_file() and (of_run / MARK).is_file() else folder


def title(folder: Path) -> str:
    """What a model is called. A run's lies in a folder that is called `model`, so the run has the name."""
    if folder.resolve() == FOLDER.resolve():
        return NAME
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" and folder.parent.name else folder.name


def shipped_model() -> Path:
    """Folder of the model that comes with omni. Raises InputError where it was left out."""
    if not (FOLDER / "config.json").is_file():
        raise InputError(f"{FOLDER}: the model {NAME} is not there; install omni again, or name a folder of your own")
    return FOLDER
