"""What in a language model's masks and loss makes it a worse or as good a translator as an encoder-decoder?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from omni.errors import InputError
from omni.train.fleet.model import Shape
from omni.train.fleet.pairs import Corpus, build_corpus, direction
from omni.train.fleet.trainer import Member, Phase, train_fleet
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.plots import MARKS, below, decades, panels
from omni.train.studies.harness.study import Cell, Results, Study, Table

PROTOCOL = """
Data. Lines of application catalogues and stamps of up to 12 tokens (byte-level BPE of 512 pieces for all languages),
held out by the project's own splits. Bilingual: English into French. Multilingual: English and French, English and
Icelandic, both ways, in equal shares; French into Icelandic is never trained (zero-shot).

Models. Two layers (an encoder-decoder has one on each side), Adam, peak learning rate 3e-3, 60 steps of warmup, then a
cosine, batches of 32 pairs. Parameters without embeddings are matched by the width of the feed-forward layers: 4
d_model in the encoder-decoder, 5 d_model in the language models, 1.5 d_model in the deep ones (within 2 %). Kinds:
encdec            -log P(Y | X)
prefix            a language model whose source steps see each other; loss on the target
top-only          the same, whose target steps see the last layer's source states
causal            source steps see only those before them; loss on the target
causal + source   the same with the loss on the source, too
prefix, deep      four layers instead of two wide ones; causal, deep likewise
Bilingual: d_model 16, 32 and 64, 800 steps. Multilingual: encdec, prefix and causal, d_model 48, 1000 steps. 3 seeds.
Quick: d_model 16 and 48, 300 steps; multilingual d_model 32, 300 steps; 2 seeds.

Deviations. Not every mask is tried with every loss and way: the source loss with the causal mask alone, since source
steps that see each other are told what they would have to predict, and an encoder predicts none of it; top-only with
the prefix mask alone.

Measures. Held-out loss in nats a target token. Zero-shot: loss, and the share of 200 greedy translations that
py3langid, choosing among English, French and Icelandic, does not take for Icelandic (off-target).

Claims, with Student's 95 % interval over seeds, and sizes where both count.
1. A causal source mask hurts: causal less prefix lies above 0.
2. The source loss hurts: causal + source less causal lies above 0.
3. The first gap narrows with size: its fall with each doubling of d_model, by regression over the sizes of a seed, lies
above 0.
4. So does the second.
5. Prefix and encoder-decoder agree: the relative difference of losses lies within -0.02 and 0.02.
6. Zero-shot, the prefix model is less often off target than the causal one (whichever way it falls).
7. Depth serves better than width: deep less wide, over prefix and causal, lies below 0 (whichever way it falls).

Until 29 November 2026 there were d_model 32 and 64 alone, and the third and fourth claim were about their difference.
"""
KINDS: dict[str, dict[str, Any]] = {                                    # width: d_ff / d_model
    "encdec": {"kind": "encdec", "width": 4},
    "prefix": {"kind": "prefix"},
    "top-only": {"kind": "prefix", "top_only": True},
    "causal": {"kind": "causal"},
    "causal + source": {"kind": "causal", "source_loss": True},
    "prefix, deep": {"kind": "prefix", "n_layers": 4, "width": 1.5},
    "causal, deep": {"kind": "causal", "n_layers": 4, "width": 1.5},
}
TASK, ZERO_SHOT = "en-fr", "fr-is"
MULTILINGUAL = ("en-fr", "fr-en", "en-is", "is-en")
TRANSLATED = 200


def cells(quick: bool) -> list[Cell]:
    """A fleet of all seeds a cell."""
    sizes, seeds = ((48, 16), [0, 1]) if quick else ((64, 32, 16), [0, 1, 2])
    several = {"tasks": MULTILINGUAL, "d_model": 32 if quick else 48, "steps": 300 if quick else 1000, "seeds": seeds}
    one = {"tasks": [TASK], "steps": 300 if quick else 800, "seeds": seeds}
    return [
        *(Cell({"kind": kind, "d_model": size, **one}) for size in sizes for kind in KINDS),
        *(Cell({"kind": kind, **several}) for kind in ("encdec", "prefix", "causal")),
    ]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    from importlib.util import find_spec

    if find_spec("py3langid") is None:
        raise InputError("py3langid is not installed, and tells translations' languages apart; pip install py3langid")
    build_corpus(data, [*map(direction, MULTILINGUAL), direction(ZERO_SHOT, 1)]).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """Held-out losses of every seed: {task: [seeds]}, and zero-shot how often each is off target."""
    corpus, tasks = Corpus.load(shared / "corpus"), list(params["tasks"])
    shape = shape_of(params["kind"], params["d_model"], corpus)
    shares = tuple(1 / len(tasks) for _ in tasks)
    members = [Member(one, (Phase(params["steps"], shares, warmup=60, kind="cosine"),)) for one in params["seeds"]]
    held = [*tasks, ZERO_SHOT] if len(tasks) > 1 else tasks
    test = {task: corpus.test[task] for task in held}
    chosen = replace(corpus, train={task: corpus.train[task] for task in tasks}, test=test)
    done = train_fleet(shape, members, chosen, 32)
    values: dict[str, Any] = {"parameters": shape.parameters, **{task: done.final(task) for task in held}}
    if ZERO_SHOT in test:
        said = done.translate(test[ZERO_SHOT].source[:TRANSLATED])      # [seeds, rows, steps]
        values["off target"] = [_off_target([corpus.decode(row.tolist()) for row in rows]) for rows in said]
        values["off target, references"] = _off_target(
            [corpus.decode(row.tolist()) for row in test[ZERO_SHOT].target[:TRANSLATED]]
        )
    return values


def shape_of(kind: str, size: int, corpus: Corpus) -> Shape:
    """A kind's shape for d_model = `size`; all have equally many parameters without embeddings, within 2 %."""
    way: dict[str, Any] = {"n_layers": 2, "width": 5, **KINDS[kind]}
    return Shape(corpus.vocab, corpus.length, size, d_ff=round(way.pop("width") * size), **way)


def _off_target(texts: list[str]) -> float:
    """The share of texts that are not taken for Icelandic."""
    import py3langid

    py3langid.set_languages(["en", "fr", "is"])
    return float(np.mean([py3langid.classify(text)[0] != "is" for text in texts]))


def judge(results: Results) -> list[Claim]:
    losses = {(one.params["kind"], one.params["d_model"]): np.array(one.values[TASK])
              for one in results if len(one.params["tasks"]) == 1}  # fmt: skip
    sizes = sorted({size for _, size in losses})

    def gaps(kind: str, other: str) -> dict[int, np.ndarray]:
        return {size: losses[kind, size] - losses[other, size] for size in sizes}

    def over_seeds(found: Mapping[Any, np.ndarray]) -> Estimate:
        return mean(np.mean(list(found.values()), axis=0).tolist())

    def narrows(gap: Mapping[int, np.ndarray]) -> Estimate:
        slopes = np.polyfit(np.log2(sizes), np.stack([gap[size] for size in sizes]), 1)[0]  # [seeds]
        return mean((-slopes).tolist())

    masked, sourced, likeness = gaps("causal", "prefix"), gaps("causal + source", "causal"), gaps("prefix", "encdec")
    deeper = {(kind, size): gap for kind in ("prefix", "causal") for size, gap in gaps(f"{kind}, deep", kind).items()}
    relative = {size: gap / losses["encdec", size] for size, gap in likeness.items()}
    off = {one.params["kind"]: np.array(one.values["off target"]) for one in results if "off target" in one.values}
    shares = ", ".join(f"{kind} {values.mean():.2f}" for kind, values in off.items())
    return [
        Claim.above("A causal source mask hurts", "loss, causal - prefix", over_seeds(masked), 0.0),
        Claim.above("The source loss hurts", "loss, with - without it", over_seeds(sourced), 0.0),
        Claim.above("The mask's gap narrows with size", "fall with each doubling of d_model", narrows(masked), 0.0),
        Claim.above("The source loss's gap narrows with size", "fall with each doubling of d_model",
                    narrows(sourced), 0.0),
        Claim.within("Prefix and encoder-decoder agree", "relative difference", over_seeds(relative), -0.02, 0.02),
        Claim.below("Zero-shot, prefix is less often off target than causal", f"difference of shares ({shares})",
                    mean((off["prefix"] - off["causal"]).tolist()), 0.0),
        Claim.below("Depth serves better than width", "loss, deep - wide", over_seeds(deeper), 0.0),
    ]  # fmt: skip


def tables(results: Results) -> dict[str, Table]:
    """The losses of every kind and size, and those of every direction of the multilingual models."""
    single = [one for one in results if len(one.params["tasks"]) == 1]
    order = sorted(single, key=lambda one: (one.params["d_model"], list(KINDS).index(one.params["kind"])))
    rows = [(one.params["kind"], str(one.params["d_model"]), f"{one.values['parameters']:,}", _seeds(one.values[TASK]),
             f"{np.mean(one.values[TASK]):.3f}") for one in order]  # fmt: skip
    found: dict[str, Table] = {
        "English into French: held-out loss, nats a target token": [
            ("kind", "d_model", "parameters", "each seed", "mean"), *rows]
    }  # fmt: skip
    held = [*MULTILINGUAL, ZERO_SHOT]
    several = [
        (one.params["kind"], *(_seeds(one.values[task]) for task in held), _seeds(one.values["off target"]))
        for one in results if "off target" in one.values
    ]  # fmt: skip
    head = ("kind", *MULTILINGUAL, f"{ZERO_SHOT}, never trained", "off target")
    found["Several languages: held-out loss of each seed, and the share of translations off target"] = [head, *several]
    return found


def _seeds(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def plot(results: Results, folder: Path) -> dict[str, Path]:
    """Loss of every kind by its size; zero-shot shares."""
    draws = {"English into French": _losses(results), "French into Icelandic, never trained": _shares(results)}
    return {"Lines and bars are means over seeds, marks are seeds": panels(draws, folder / "architectures.png")}


def _losses(results: Results) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        found = sorted((one for one in results if len(one.params["tasks"]) == 1), key=lambda one: one.params["d_model"])
        for number, kind in enumerate(KINDS):
            some = [one for one in found if one.params["kind"] == kind]
            sizes, losses = [one.values["parameters"] for one in some], np.array([one.values[TASK] for one in some])
            look = {"color": f"C{number}", "ls": "--" if "deep" in kind else "-", "lw": 1}
            axes.plot(sizes, losses.mean(axis=1), label=kind, **look)
            axes.plot(sizes, losses, MARKS[number], ms=3, mfc="none", color=f"C{number}")  # [sizes, seeds]
        whole = [loss for one in found for loss in one.values[TASK]]
        decades(axes, sorted({one.values["parameters"] for one in found if one.params["kind"] == "prefix"}), whole)
        axes.set_xlabel("parameters without embeddings", fontsize=8)
        axes.set_ylabel("held-out loss, nats a target token", fontsize=8)
        below(axes, 4)

    return draw


def _shares(results: Results) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        found = [one for one in results if "off target" in one.values]
        axes.bar([one.params["kind"] for one in found], [np.mean(one.values["off target"]) for one in found], width=0.5)
        for place, one in enumerate(found):
            axes.plot([place] * len(one.values["off target"]), one.values["off target"], "k.", ms=4)
        axes.axhline(found[0].values["off target, references"], color="grey", lw=0.8, ls=":", label="references")
        axes.set_ylabel("share of translations off target", fontsize=8)

    return draw


STUDY = Study(
    "Language-model architectures for translation",
    "Zhang, Ghorbani, Bapna, Cheng, Garcia, Shen and Firat 2022",
    PROTOCOL, cells, run, judge, plot, prepare, tables=tables,
)  # fmt: skip
