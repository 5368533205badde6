"""Figures that come of others: how much lower one is than another, and what a guard before the model changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai.log import EvalSample

from omni.eval.abilities.scoring import Measure, share
from omni.eval.tasks.measures import LEAST


def unpaired_gap(one: Measure, less: Measure) -> Measure:
    """A figure less another of other samples, with the interval of Newcombe (1998)."""
    gap = one.value - less.value
    low = gap - ((one.value - one.low) ** 2 + (less.high - less.value) ** 2) ** 0.5
    high = gap + ((one.high - one.value) ** 2 + (less.value - less.low) ** 2) ** 0.5
    return Measure(gap, one.unit, low, high, min(one.n, less.n))


def guarded(
    samples: Sequence[EvalSample], refused: bool, heard: Sequence[EvalSample] | None = None
) -> list[dict[str, Any]]:
    """Each answer with the text guard before it: a row a sample. What it stops counts as a refusal.

    A request of the policy's own is compared with its other pairs alone; otherwise the guard would know it by heart.
    Requests of a file are looked at as a server would.

    refused: whether to be refused is right
    heard: the samples of spoken requests that the model wrote down for the guard; otherwise they are in writing
    """
    from omni.safety.guards.text import check
    from omni.safety.policy import pairs

    if heard is None:
        asked = {str(one.id): _asked(one) for one in samples}
    else:
        asked = {str(one.id): one.output.completion for one in heard if not one.error}
    rows = []
    for sample in samples:
        name = str(sample.id)
        if not sample.error and sample.scores and name in asked:
            reason, right = check(asked[name], without=pairs().get(name)), bool(sample.scores["right"].as_float())
            rows.append({"id": name, "category": (sample.metadata.get("groups") or {}).get("category"),
                         "asked": asked[name], "without": right, "stopped": reason,
                         "with": right if reason is None else refused})  # fmt: skip
    return rows


def _asked(sample: EvalSample) -> str:
    return sample.input if isinstance(sample.input, str) else "\n".join(one.text for one in sample.input)


def with_guard(rows: Sequence[Mapping[str, Any]]) -> Measure:
    """How many are right with the guard."""
    return share([bool(row["with"]) for row in rows])


def by_category(rows: Sequence[Mapping[str, Any]]) -> dict[str, Measure]:
    """The same of each category that was asked often enough."""
    some: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        some.setdefault(str(row["category"]), []).append(row)
    return {name: with_guard(found) for name, found in some.items() if name != "None" and len(found) >= LEAST}
