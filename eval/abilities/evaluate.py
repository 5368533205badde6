"""All parts, one after the other; a finished one is kept, so that an interrupted run goes on where it stopped."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.eval.abilities.parts import (
    hearing,
    interpreting,
    pictures,
    questions,
    refusals,
    sounds,
    speaking,
    translation,
    videos,
)
from omni.eval.abilities.scoring import Measure, Result
from omni.eval.abilities.subject import Subject
from omni.eval.answering import ANSWERS
from omni.files import code, read_json, sha256, write_json
from omni.progress import progress

SHOWN = 8                                                               # examples that are kept of a part
TRAINED_SHARE = 0.4                                                     # of the limit, for the sample of trained items


@dataclass(frozen=True)
class Part:
    """A subject of the examination; `twice`: trained items are asked about too."""

    name: str
    measure: Callable[[Subject], Result]
    twice: bool = True


PARTS = (
    Part("captions heard", hearing.captions),
    Part("digits heard", hearing.digits),
    Part("speech", speaking.speech),
    Part("pictures named", pictures.naming),
    Part("captions drawn", pictures.drawing),
    Part("captions translated", translation.captions),
    Part("words interpreted", interpreting.interpret),
    Part("pictures asked about", questions.about_pictures),
    Part("sounds", sounds.effects),
    Part("videos", videos.moves),
    Part("requests", refusals.requests),
    Part("speed", speaking.speed, twice=False),
)


def evaluate(subject: Subject, key: dict[str, Any], out: Path, parts: tuple[Part, ...] = PARTS) -> dict[str, Result]:
    """The result of every part by its name; of trained items as `NAME, trained`.

    key: whatever else the results depend on; results in `out` under the same key are taken over.
    """
    trained = replace(subject, trained=True, limit=max(10, int(subject.limit * TRAINED_SHARE)))
    jobs = [(part.name, part, subject) for part in parts]
    jobs += [(f"{part.name}, trained", part, trained) for part in parts if part.twice]
    results = {}
    for name, part, who in (bar := progress(jobs, "examining", unit="part")):
        bar.set_postfix_str(name)
        results[name] = _kept(out / f"{name.replace(', ', '-').replace(' ', '-')}.json", key, part, who)
    return results


def identity(model: Path, subject: Subject) -> dict[str, Any]:
    """What the results of an examination depend on, this code included."""
    weights = sha256(model / "checksums.json")
    return {
        "code": code([Path(__file__).parent, *ANSWERS]),
        "model": hashlib.sha256(f"{weights} {subject.pipeline.tokenizers.fingerprint}".encode()).hexdigest(),
        "data": subject.manifest.fingerprint,
        "languages": list(subject.languages),
        "limit": subject.limit,
        "seed": subject.seed,
    }


def _kept(path: Path, key: dict[str, Any], part: Part, subject: Subject) -> Result:
    if path.exists() and (kept := read_json(path)).get("key") == key:
        measures = {name: Measure(**values) for name, values in kept["measures"].items()}
        return Result(measures, kept["examples"], kept["note"], kept["seconds"])
    begun = time.process_time()
    try:
        result = part.measure(subject)
    except InputError as error:                                         # the model or the data lack what it takes
        result = Result(note=str(error))
    suffix = "_train" if subject.trained else ""
    measures = {name + suffix: measure for name, measure in result.measures.items()}
    shown = result.examples[:: max(1, len(result.examples) // SHOWN)][:SHOWN]
    result = Result(measures, shown, result.note, round(time.process_time() - begun, 2))
    write_json(path, {"key": key, **asdict(result)})
    return result
