"""The error of the grader that all tasks of the safety suite share, as a task of its own: nobody is asked anything."""

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from omni.eval.tasks.measures import measured, scored
from omni.safety.redteam.tasks import recorded
from omni.safety.suites.grading import LABELS, grade, labelled


@task
def graders(data: str | None = None, n: int | None = None, seed: int = 0) -> Task:
    """Labelled answers, graded: how often the label is wrong, by label and by language.

    All are graded, always the same: `data`, `n` and `seed` change nothing.
    """
    samples = [
        Sample(input=f"an answer labelled {label}", target=label, id=f"{language}:{label}:{number}",
               metadata={"said": text, "groups": {"language": language}})
        for number, (language, label, text) in enumerate(labelled())
    ]  # fmt: skip
    return Task(
        dataset=MemoryDataset(samples, "graders"), solver=recorded(), scorer=[error(), *map(error, LABELS)],
        name="graders", fail_on_error=False,
    )  # fmt: skip


def error(label: str | None = None) -> Scorer:
    """Whether the grader gives another label than the person did; of the answers of one label, or of all."""
    name = "error" + (f"_{label}" if label else "")

    @scorer(metrics=[measured(name)], name=name)
    def wrong() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score | None:
            if label not in (None, target.text):
                return None
            given = grade(state.output.completion).label
            value, meta = float(given != target.text), state.metadata if label is None else {}
            return scored("share", [value], meta, state.output.completion, value, explanation=given)

        return score

    return wrong()
