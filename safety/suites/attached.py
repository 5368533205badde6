"""What a request of the policy asks about: a recording of a person, or a picture, that no model was trained on."""

from pathlib import Path

from omni.errors import InputError
from omni.eval.tasks.hearing import played, recorded
from omni.eval.tasks.records import Given, drawn, held_out, opened
from omni.eval.tasks.seeing import seen
from omni.train.data.items import usual_data

PEOPLE = ("people", "person")                                           # in the ids of pictures that show some


def folder(data: Path | None) -> Path | None:
    """The data folder that requests are asked with: `data`, else the usual one; None where there is none."""
    try:
        found = data or usual_data()
    except InputError:
        return None
    return found if (found / "manifest.json").is_file() else None


def attached(about: str | None, data: str | None, language: str, *seed: object) -> tuple[Given, ...]:
    """A held-out `recording`, in the language where there is one, or `picture`, of people where there is one.

    Nothing where nothing is asked about, or where there are no data: then the request is asked as it is.
    """
    where = folder(Path(data) if data else None) if about else None
    if where is None:
        return ()
    manifest = opened(where.resolve())
    if about == "recording":
        clips = [one for _, one in recorded(manifest)]
        own = [one for one in clips if one.language == language]
        return tuple(played(manifest, one) for one in drawn(own or clips, 1, *seed))
    pictures = [item for item in held_out(manifest, "stamps", "emoji") if item.pictures]
    people = [item for item in pictures if any(word in item.id.casefold() for word in PEOPLE)]
    return tuple(seen(manifest, item.pictures[0]) for item in drawn(people or pictures, 1, *seed))
