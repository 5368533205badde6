"""How a task asks: one question a sample, its answer scored; the same for our models and for any other."""

from collections.abc import Sequence
from typing import Any

from inspect_ai import Task
from inspect_ai.model import ContentText
from inspect_ai.scorer import Scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from omni.errors import InputError
from omni.eval.inspected.wishes import body
from omni.eval.tasks.records import Record, dataset

OURS = "omni"                                                           # the provider that reads language and choices


def examine(
    name: str, found: Sequence[Record], scorer: Scorer | Sequence[Scorer], want: Sequence[str] = ("text",),
    by: Solver | None = None, **settings: Any,
) -> Task:  # fmt: skip
    """An Inspect task of records: a sample that cannot be asked or answered is an error, and the others go on.

    want: modalities of the answer; by: what asks in another way than for an answer
    """
    scorers = [scorer] if callable(scorer) else list(scorer)
    return Task(
        dataset=dataset(found, name), solver=by or ask(tuple(want)), scorer=scorers, name=name,
        fail_on_error=False, **settings,
    )  # fmt: skip


@solver
def ask(want: Sequence[str] = ("text",), verbatim: bool = False) -> Solver:
    """Ask for an answer in some modalities; where the record has choices, for one of them. verbatim: for what is heard
    in it, and no answer
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        meta = state.metadata
        refuse_bad(meta)
        choices = meta.get("choices") or []
        if state.model.api == OURS:
            asked = body(want, meta.get("language"), choices=choices, verbatim=verbatim)
            return await generate(state, extra_body=asked)
        if choices:
            show_choices(state, choices)
        if tuple(want) != ("text",):
            return await generate(state, extra_body=body(want))
        return await generate(state)

    return solve


@solver
def likely() -> Solver:
    """Ask how likely the target is as the answer, which only our own provider tells."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        refuse_bad(state.metadata)
        if state.model.api != OURS:
            raise InputError(f"{state.model}: tells no likelihoods; this task measures models of omni alone")
        asked = body(language=state.metadata.get("language"), score=state.target.text)
        return await generate(state, extra_body=asked)

    return solve


def refuse_bad(meta: dict[str, Any]) -> None:
    """Raises InputError for a record that cannot be asked: an error in the results, not a gap in them."""
    if meta.get("bad"):
        raise InputError(str(meta["bad"]))


def show_choices(state: TaskState, choices: Sequence[str]) -> None:
    """Append the choices to what is asked, each with its letter."""
    lines = [f"{chr(ord('A') + number)}. {choice}" for number, choice in enumerate(choices)]
    listed = "\n".join(["Answer with the letter of one of these:", *lines])
    message = state.messages[-1]
    contents = [ContentText(text=message.content)] if isinstance(message.content, str) else list(message.content)
    message.content = [*contents, ContentText(text=listed)]
