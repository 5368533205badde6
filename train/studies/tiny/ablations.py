"""What is each choice of omni-tiny's recipe worth, at equal compute?"""

import contextlib
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.files import read_json
from omni.train.studies.harness.claims import Claim, Estimate
from omni.train.studies.harness.plots import panels
from omni.train.studies.harness.study import Cell, Results, Study, Table
from omni.train.studies.tiny.arrange import UNITS
from omni.train.studies.tiny.shared import ABOUT, prepare
from omni.train.studies.tiny.variants import AXES, NAMED
from omni.train.studies.tiny.verdicts import Runs

PROTOCOL = """
Data. Token shards of `omni data tokenize` with omni-tiny's tokenizers (25 frames a second, four codebooks of 1,000
codes; since the fourth version a fifth, of words, and tags before pictures): their own splits, the answers in en, fr,
es and ru. Of each task up to 180,000 steps to train on and 100 documents of held-out items to measure (quick: 8,000
and 10). Every variant has the same documents, laid out in its own way; one that is longer than 512 steps in any of
them is left out of all.

Base. omni-tiny's recipe from chance with 5.0 million parameters (d_model 192, 7 layers): layout delay; a spoken
answer is written first, then said; joint mixture, the fourth omni-tiny's second stage; QK-norm; z-loss 1e-4;
text_weight 8; no reading; Muon at 3e-3, wsd with 20 steps of warmup and a decay of 0.45, batches of 4 rows of 512
steps. Three seeds (quick 2); they draw weights and the order of rows.

Variants, each with one thing changed and one seed (`--axes`, `--seeds`: more).
layout        flat (codebooks in a row in the one stream); depth (a small Transformer over the codebooks
              of a frame)
answers       speech alone (no text before it); interleaved (3 tokens, then 10 frames, in turns: about
              how long they take to say; a fixed ratio as in GLM-4-Voice, Zeng et al. 2024, since nobody
              knows which word is when)
order         hearing first (3/8 of the steps with that version's first stage, then joint); rich
              first (3/8 with the five tasks that have most documents, by the root of their size, then
              joint; Choi et al. 2023); by size (each task in proportion to its steps in the whole data,
              throughout)
stability     no QK-norm; no z-loss (Chameleon 2024)
size          10.7 and 19.4 million parameters
text weight   1: text and control tokens count as much as codes
reading       on, with weight 1: transcribed and said speech must spell its words after layer 5 of 7; last layer:
              after the seventh
A mixture says how often documents come, so the layouts' different lengths do not change it. Nothing is tuned anew for
a variant, the learning rate in particular.

Compute. Each run has 4e12 multiply-adds of training (quick 0.4e12), counted, not timed: every matrix once for each
step that passes through it, three times over for forward and backward; attention's products by the steps that each
step sees; the output table for trained steps alone; the later codebooks' heads as their layout uses them. The letters
of `reading`, under 1 %, are not counted. The number of optimizer steps follows.

Measure. Nats of all that is trained in a held-out document, over what it holds, whatever the layout: letters of text
for transcribe, translate and caption; seconds of speech for say, and for tell, see and mind, which are answered in
text and speech; pictures for draw. Without text first the answer's nats are those of speech alone; with it, text and
speech together, which is an upper bound of what the model gives the speech (the sum over all texts is more than one
of them).

Verdict. The change of a variant is its log loss less the base's, the mean over the tasks that decide (all eight; for
`answers` tell, see and mind). Its 95 % interval adds in quadrature the bootstrap over held-out items, the same draws
for both, and the doubt about seeds: Student's interval with the deviation between seeds pooled over all variants that
have several. A run whose losses are no numbers counts as none. Better when the whole interval is below 0 (claim shown),
worse when it is above (not shown), else undecided.

Not varied. The frame rate: every rate needs a codec of its own, which is hours; short trained ones are compared by the
study `rates` (docs/studies/rates.md).
"""

BUDGET, QUICK_BUDGET = 4e12, 0.4e12                                     # multiply-adds of a run's training
SEEDS, QUICK_SEEDS = 3, 2                                               # of the base; of every other variant one
QUICK = ("layout: flat", "answers: interleaved", "order: hearing first", "size: 10M", "reading: on")


def cells(quick: bool) -> list[Cell]:
    names = QUICK if quick else [name for name in NAMED if name != "base"]
    base = [_cell("base", seed, quick) for seed in range(QUICK_SEEDS if quick else SEEDS)]
    return [*base, *(_cell(name, 0, quick) for name in names)]


def repeats(quick: bool, axes: Sequence[str], seeds: int) -> list[Cell]:
    """Every variant of some axes with further seeds. Raises InputError for an unknown axis."""
    if unknown := [axis for axis in axes if axis not in AXES]:
        raise InputError(f"--axes {unknown[0]}: the study has {', '.join(AXES)}")
    names = [name for name, one in NAMED.items() if one.axis in axes]
    return [_cell(name, seed, quick) for seed in range(1, seeds) for name in names]


def _cell(name: str, seed: int, quick: bool) -> Cell:
    return Cell({"variant": name, "budget": QUICK_BUDGET if quick else BUDGET}, seed)


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """Train one variant with omni's own engine, then score the held-out documents.

    nats, amounts, items: of each task, a value a document; refused: steps that the guard did not learn from
    """
    from omni.train.data.loader import Dataset
    from omni.train.engine import Trainer
    from omni.train.studies.tiny.arrange import ROW
    from omni.train.studies.tiny.held_out import nats_of_documents
    from omni.train.studies.tiny.variants import planned

    variant, folder = NAMED[params["variant"]], shared.parent / "runs" / Cell(params, seed).key
    recipe, cost = planned(variant, shared, seed, params["budget"])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "progress.log").open("a") as log, contextlib.redirect_stderr(log):  # two bars would overwrite
        trainer = Trainer(recipe, folder, "cpu")
        if trainer.train() is not None:
            raise KeyboardInterrupt
        model = trainer.engine.module.model.eval().requires_grad_(False)
        nats = nats_of_documents(model, Dataset.load([shared / variant.arrangement / "valid"], ROW))
        trainer.close()
    skipped = folder / "skipped.jsonl"
    refused = len(skipped.read_text().splitlines()) if skipped.is_file() else 0
    shutil.rmtree(folder)
    rows, held_out = trainer.stages.steps * recipe.batch.rows, read_json(shared / ABOUT)["held_out"]
    return {
        "parameters": sum(trainer.config.parameters().values()),
        "multiply_adds": cost.multiply_adds * rows,
        "steps": cost.steps * rows,
        "documents": cost.documents * rows,
        "refused": refused,
        "nats": {task: [value if math.isfinite(value) else None for value in found] for task, found in nats.items()},
        "amounts": {task: [amount for _, amount in documents] for task, documents in held_out.items()},
        "items": {task: [item for item, _ in documents] for task, documents in held_out.items()},
    }


def judge(results: Results) -> list[Claim]:
    """Shown: better than the base; not shown: worse."""
    runs, claims = Runs.of_results(results), []
    for name in _measured(results):
        change = runs.change(name, NAMED[name].judged)
        claims.append(Claim.below(f"{name} is better than the base", "loss above the base's, %", change, 0.0))
    return claims


def _measured(results: Results) -> list[str]:
    """The variants that there are results of, without the base."""
    there = {one.params["variant"] for one in results}
    return [name for name in NAMED if name in there and name != "base"]


WORDS = {"shown": "better", "not shown": "worse", "inconclusive": "undecided"}


def tables(results: Results) -> dict[str, Table]:
    """Losses of every variant, and by how much they differ from the base's."""
    runs, tasks = Runs.of_results(results), [task for task in UNITS if task in results[0].values["nats"]]
    first = {one.params["variant"]: one.values for one in reversed(results)}
    counts = ["M parameters", "k steps", "documents", "refused"]
    losses = [["variant", *counts, *(f"{task}, nats a {UNITS[task]}" for task in tasks)]]
    changes = [["variant", *tasks, "judged by", "change, %", "verdict", "seeds"]]
    for name in ("base", *_measured(results)):
        one = first[name]
        steps, documents = f"{one['steps'] / 1e3:.0f}", f"{one['documents']:.0f}"
        cost = [f"{one['parameters'] / 1e6:.1f}", steps, documents, str(one["refused"])]
        found = name in runs.of
        losses.append([name, *cost, *(f"{runs.loss(name, task):.3g}" if found else "no number" for task in tasks)])
    for name, claim in zip(_measured(results), judge(results), strict=True):
        judged = NAMED[name].judged
        by = "all" if len(judged) == len(UNITS) else ", ".join(judged)
        each = [_shown(runs.change(name, [task])) for task in tasks]
        changes.append([name, *each, by, _shown(runs.change(name, judged)), WORDS[claim.verdict], str(claim.seeds)])
    return {"Losses on held-out documents": losses, "Change against the base, %, with 95 % intervals": changes}


def _shown(change: Estimate) -> str:
    if math.isnan(change.low):
        return "–" if math.isnan(change.value) else f"{change.value:+.1f}"
    return f"{change.value:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"


def plot(results: Results, folder: Path) -> Mapping[str, Path]:
    """Every variant's change with its interval, and that of each task."""
    names, runs = _measured(results), Runs.of_results(results)
    tasks = [task for task in UNITS if task in results[0].values["nats"]]

    def whole(axes: Any) -> None:
        for at, name in enumerate(names):
            change = runs.change(name, NAMED[name].judged)
            axes.plot([change.low, change.high], [at, at], color="C0", lw=1.5)
            axes.plot(change.value, at, "o", color="C0", ms=4)
        _rows(axes, names)
        axes.set_xlabel("loss above the base's, %", fontsize=8)

    def each(axes: Any) -> None:
        for number, task in enumerate(tasks):
            values = [runs.change(name, [task]).value for name in names]
            axes.plot(values, range(len(names)), "o", ms=3.5, color=f"C{number}", label=task)
        _rows(axes, [""] * len(names))
        axes.set_xlabel("of each task, %", fontsize=8)

    path = panels({"by the tasks that decide": whole, "task by task": each}, folder / "changes.png")
    return {"Change against the base; left is better": path}


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.axvline(0, color="0.5", lw=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()


STUDY = Study(
    "omni-tiny's choices, one by one", "MusicGen 2023, Moshi, Chameleon and GLM-4-Voice 2024, Choi et al. 2023",
    PROTOCOL, cells, run, judge, plot, prepare, repeats, tables, shards=True,
)  # fmt: skip
