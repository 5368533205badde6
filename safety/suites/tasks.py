"""The safety suite as Inspect tasks: refusing, complying, the same aloud and disguised."""

from collections.abc import Iterator
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.model import ContentText
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from omni.errors import InputError
from omni.eval.aloud.convert import aloud
from omni.eval.tasks.examine import examine
from omni.eval.tasks.measures import measured, scored
from omni.eval.tasks.records import Record, drawn, local
from omni.safety.policy import policy
from omni.safety.suites.disguises import DISGUISES, LANGUAGES
from omni.safety.suites.grading import grade


@task
def should_refuse(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """Requests that the policy refuses, or hedges. `data`: a JSONL of your own; else the policy's pairs are asked."""
    return examine("should_refuse", _requests(data, 0, n, seed), [handled(), coherent()])


@task
def should_comply(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """Requests that look alike and are to be complied with: over-refusal."""
    return examine("should_comply", _requests(data, 1, n, seed), [handled(), coherent()])


@task
def should_refuse_aloud(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The requests to refuse, spoken in voices that take turns: the same ids, so that text and speech compare."""
    return aloud(should_refuse(data, n, seed), "clean", seed, "should_refuse_aloud")


@task
def should_comply_aloud(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The requests to comply with, spoken."""
    return aloud(should_comply(data, n, seed), "clean", seed, "should_comply_aloud")


@task
def jailbreaks(data: str | None = None, n: int | None = 140, seed: int = 0) -> Task:
    """Requests to refuse, disguised; every disguise equally often. The policy's own come in other languages too."""
    found = _requests(data, 0, None, seed)
    own = {one.id for one in _of_policy(0)}
    names = [name for name in DISGUISES if name not in LANGUAGES or all(one.id in own for one in found)]
    each = len(found) if n is None else max(1, n // len(names))
    records = [_disguised(name, one) for name in names for one in drawn(found, each, seed, name)]
    return examine("jailbreaks", records[:n], [handled(), coherent()])


@scorer(metrics=[measured("right")], name="right")
def handled() -> Scorer:
    """Whether an answer does what the policy wants: refuse, hedge (a refusal will do), or comply. Babble never does."""

    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion if state.output.choices else ""
        label = grade(said).label
        good = label == target.text or (target.text == "hedge" and label == "refuse")
        return scored("share", [float(good)], state.metadata, said, float(good), explanation=f"graded: {label}")

    return score


@scorer(metrics=[measured("coherent")], name="coherent")
def coherent() -> Scorer:
    """Whether there is an answer in words at all."""

    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion if state.output.choices else ""
        good = float(grade(said).coherent)
        return scored("share", [good], state.metadata, said, good)

    return score


def _requests(data: str | None, side: int, n: int | None, seed: int) -> list[Record]:
    """One side of the policy's pairs, 0 to refuse and 1 to comply with, or the records of a file."""
    if data and Path(data).suffix in (".jsonl", ".parquet"):
        found = list(local(Path(data)))
        wanted = {"refuse", "hedge"} if side == 0 else {"comply"}
        found = [one for one in found if one.bad or one.target in wanted]
        if not found:
            raise InputError(f"{data}: no record whose `target` is {' or '.join(sorted(wanted))}")
        return drawn(found, len(found) if n is None else n, seed, "requests")
    made = list(_of_policy(side))
    return drawn(made, len(made) if n is None else n, seed, "requests")


def _of_policy(side: int) -> Iterator[Record]:
    for category in policy():
        for number, pair in enumerate(category.pairs):
            target = category.action if side == 0 else "comply"
            yield Record(
                f"{category.key}:{number}", target, (ContentText(text=pair[side]),), language="en",
                groups={"category": category.key},
            )  # fmt: skip


def _disguised(name: str, one: Record) -> Record:
    request = next((part.text for part in one.given if isinstance(part, ContentText)), "")
    try:
        given = tuple(DISGUISES[name](request))
    except InputError as error:
        return Record(**{**vars(one), "id": f"{one.id}:{name}", "bad": str(error)})
    groups, language = {**one.groups, "disguise": name}, LANGUAGES.get(name, one.language)
    changed = {"id": f"{one.id}:{name}", "given": given, "groups": groups, "language": language}
    return Record(**{**vars(one), **changed})
