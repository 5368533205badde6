"""The model that comes with omni, in checkpoints/omni-tiny."""

from pathlib import Path

from omni.errors import InputError

NAME = "omni-tiny"
TRAINED = (3.0, 2)                                                      # hours on the clock, and cores
FOLDER = Path(__file__).parent / "checkpoints" / NAME


def named_model(name: str | Path) -> Path:
    """The folder of `omni-tiny`, or any other by its path."""
    return shipped_model() if name == NAME else Path(name)


def shipped_model() -> Path:
    """Folder of the model that comes with omni. Raises InputError where it was left out."""
    if not (FOLDER / "config.json").is_file():
        raise InputError(f"{FOLDER}: the model {NAME} is not there; install omni again, or name a folder of your own")
    return FOLDER
