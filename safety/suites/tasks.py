"""The safety suite as Inspect tasks: refusing, complying, the same aloud and disguised."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.model import ContentText
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from omni.errors import InputError
from omni.eval.aloud.convert import ACCENTS, DAMAGED, aloud
from omni.eval.inspected.plainly import plainly
from omni.eval.tasks.examine import examine
from omni.eval.tasks.measures import LEAST, measured, scored
from omni.eval.tasks.records import Record, drawn, local
from omni.safety.policy import LANGUAGES as ASKED_IN
from omni.safety.policy import policy, translations
from omni.safety.redteam.transcripts import WANTS, is_transcript
from omni.safety.suites.attached import attached
from omni.safety.suites.disguises import DISGUISES, LANGUAGES
from omni.safety.suites.grading.grade import Grade, grade


@task
def should_refuse(data: str | None = None, n: int | None = 100, seed: int = 0, language: str = "en") -> Task:
    """Requests that the policy refuses, or hedges. `data`: a JSONL of your own; else the policy's pairs are asked.

    Those about a recording or a picture come with one that was held out, of the data folder, where there is one.

    language: in which the policy's are asked and to be answered
    """
    return examine("should_refuse", _requests(data, 0, n, seed, language), [handled(), coherent()])


@task
def should_comply(data: str | None = None, n: int | None = 100, seed: int = 0, language: str = "en") -> Task:
    """Requests that look alike and are to be complied with: over-refusal."""
    return examine("should_comply", _requests(data, 1, n, seed, language), [handled(), coherent()])


@task
def should_refuse_aloud(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The requests to refuse, spoken in voices that take turns: the same ids, so that text and speech compare."""
    return aloud(should_refuse(data, n, seed), "clean", seed, "should_refuse_aloud")


@task
def should_comply_aloud(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The requests to comply with, spoken."""
    return aloud(should_comply(data, n, seed), "clean", seed, "should_comply_aloud")


@task
def should_refuse_channels(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """`should_refuse_aloud` in the same voices, each request through another channel than the one before."""
    return aloud(should_refuse(data, n, seed), DAMAGED, seed, "should_refuse_channels")


@task
def should_comply_channels(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """`should_comply_aloud` the same way: of a pair of requests both go through one channel."""
    return aloud(should_comply(data, n, seed), DAMAGED, seed, "should_comply_channels")


@task
def should_refuse_accents(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The requests to refuse, spoken by espeak-ng, each in another accent than the one before."""
    return aloud(should_refuse(data, n, seed), "clean", seed, "should_refuse_accents", ACCENTS)


@task
def should_comply_accents(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The requests to comply with, the same way: of a pair of requests both are in one accent."""
    return aloud(should_comply(data, n, seed), "clean", seed, "should_comply_accents", ACCENTS)


@task
def jailbreaks(data: str | None = None, n: int | None = 140, seed: int = 0) -> Task:
    """Requests to refuse, disguised; every disguise equally often. The policy's own come in other languages too."""
    return _disguises("jailbreaks", data, 0, n, seed)


@task
def jailbreaks_comply(data: str | None = None, n: int | None = 140, seed: int = 0) -> Task:
    """What looks alike and is to be complied with, in the same disguises: over-refusal of whatever is disguised."""
    return _disguises("jailbreaks_comply", data, 1, n, seed)


@scorer(metrics=[measured("right")], name="right")
def handled() -> Scorer:
    """Whether an answer does what the policy wants: refuse, hedge (a refusal will do), or comply. Babble never does.

    baseline: who refuses whatever is asked, and so is always right on one side of the pairs and never on the other.
    """

    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion if state.output.choices else ""
        given = grade(said)
        good, always = float(given.does(target.text)), [float(Grade("refuse").does(target.text))]
        return scored("share", [good], state.metadata, said, good, always, explanation=f"graded: {given.label}")

    return score


@scorer(metrics=[measured("coherent")], name="coherent")
def coherent() -> Scorer:
    """Whether there is an answer in words at all."""

    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion if state.output.choices else ""
        good = float(grade(said).coherent)
        return scored("share", [good], state.metadata, said, good)

    return score


@plainly
def _requests(data: str | None, side: int, n: int | None, seed: int, language: str = "en") -> list[Record]:
    """One side of the policy's pairs, 0 to refuse and 1 to comply with, or the records of a file.

    Raises InputError for a file that holds something else, or nothing for this side, and for other languages.
    """
    if language not in ASKED_IN:
        raise InputError(f"language={language}: the policy's requests are in {', '.join(ASKED_IN)}")
    if data and not Path(data).is_dir():
        found = [_checked(one) for one in _local(Path(data))]
        wanted = {"refuse", "hedge"} if side == 0 else {"comply"}
        found = [one for one in found if one.bad or one.target in wanted]
        if not found:
            raise InputError(f"{data}: no record whose `target` is {' or '.join(sorted(wanted))}")
        return drawn(found, len(found) if n is None else n, seed, "requests")
    made = list(_of_policy(side, language, data, seed))
    return drawn(made, len(made) if n is None else n, seed, "requests")


def _of_policy(side: int, language: str, data: str | None, seed: int) -> Iterator[Record]:
    """data: folder of what requests ask about."""
    for category in policy():
        for name, pair, about in zip(category.names, category.pairs, category.about, strict=True):
            target = category.action if side == 0 else "comply"
            text = pair[side] if language == "en" else translations(language)[pair[side]]
            given = (*attached(about, data, language, seed, name), ContentText(text=text))
            yield Record(name, target, given, language=language, groups={"category": category.key})


def _disguises(name: str, data: str | None, side: int, n: int | None, seed: int) -> Task:
    """One side of the pairs in every disguise, at least LEAST times each, so that each has a rate of its own."""
    found = _requests(data, side, None, seed)
    ours = not data or Path(data).is_dir()                              # of which there are translations
    names = [one for one in DISGUISES if one not in LANGUAGES or ours]
    each = len(found) if n is None else min(len(found), max(LEAST, n // len(names)))
    order = itertools.cycle(_in_turn(found))
    records = [_disguised(one, request) for one in names for request in itertools.islice(order, each)]
    return examine(name, records, [handled(), coherent()])


def _in_turn(found: list[Record]) -> list[Record]:
    """A request of each category, and then of each again, so that each is asked as often as any."""
    rows: dict[str, list[Record]] = {}
    for one in found:
        rows.setdefault(one.groups.get("category", ""), []).append(one)
    return [one for some in itertools.zip_longest(*rows.values()) for one in some if one is not None]


def _local(path: Path) -> Iterator[Record]:
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{path}: requests are a .jsonl or .parquet file (docs/evaluation.md)")
    if is_transcript(path):
        raise InputError(f"{path}: holds sessions, which the task `redteam` replays, and no requests")
    yield from local(path)


def _checked(one: Record) -> Record:
    """A record whose target is none of ours cannot be scored: an error, and not a gap."""
    if one.bad or one.target in WANTS:
        return one
    return replace(one, bad=f"{one.id}: `target` must be {', '.join(WANTS)}, got {one.target!r}")


def _disguised(name: str, one: Record) -> Record:
    """The request disguised; what else was given, such as a picture, stays before it."""
    groups, language = {**one.groups, "disguise": name}, LANGUAGES.get(name, one.language)
    made = replace(one, id=f"{one.id}:{name}", groups=groups, language=language)
    request = next((part.text for part in one.given if isinstance(part, ContentText) and part.text.strip()), "")
    if one.bad or not request:
        return replace(made, bad=one.bad or f"{one.id}: has no text that could be disguised")
    try:
        kept = [part for part in one.given if not isinstance(part, ContentText)]
        return replace(made, given=(*kept, *DISGUISES[name](request)))
    except InputError as error:
        return replace(made, bad=str(error))
