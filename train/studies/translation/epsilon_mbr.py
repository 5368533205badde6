"""Which samples make the best candidates for minimum Bayes risk decoding, and does it beat beam search?"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omni.decode.beam import beam_search
from omni.decode.generate import draw_many
from omni.decode.mbr.choose import mbr
from omni.decode.mbr.utilities import bleu, chrf
from omni.decode.samplers import Sampler
from omni.decode.say import begin
from omni.decode.score import side_by_side
from omni.decode.want import Want
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment
from omni.sequence import Sequence as Laid
from omni.train.fleet.pairs import Corpus, Pairs, build_corpus, direction
from omni.train.schedule import Schedule
from omni.train.studies.harness.claims import Claim, Estimate
from omni.train.studies.harness.plots import panels
from omni.train.studies.harness.study import Cell, Results, Study
from omni.vocab import Vocabulary

PROTOCOL = """
Data. English into French: lines of application catalogues and stamps of up to 12 tokens (byte-level BPE of 512
pieces), held out by the project's own splits.

Model. omni's own decoder with a visible prefix (d_model 96, 3 layers, no label smoothing), AdamW, 2000 steps of 32
lines, peak learning rate 3e-3, 100 steps of warmup, then a cosine; 3 seeds. Quick: 400 steps, 1 seed.

Decoding. 400 held-out lines (quick: 60). For each way of drawing, 64 candidates (quick: 24), which are the references,
too; the utility is sentence chrF. Ways: ancestral; top-k of 10 and of 50; nucleus of 0.9 at a temperature of 1.5, the
paper's, and at 1; epsilon 0.02 at temperatures of 1 and 2. The model's own probabilities are cut, and what is kept is
heated. Beam search with 4 hypotheses and length exponent 1. Nothing was tuned.

Quality. Sentence chrF and sentence BLEU against the one reference, both averaged over lines and seeds. chrF is also the
utility and so favours MBR; BLEU is the check.

Claims. Differences a line, averaged over lines and seeds; 95 % interval by paired bootstrap over models and lines
(2000 resamples): each draws as many models and as many lines as there are, with replacement, and takes the mean of the
drawn lines under the drawn models. All models translate the same lines, so a resample takes one draw of lines for all
its models (Owen 2007): a draw for each model would count a line as often as there are models. With one model, as in the
quick run, the interval is over lines alone.
1. to 5. MBR with epsilon 0.02 is above beam search and above MBR on ancestral samples, on top-k of 10 and of 50 and on
nucleus of 0.9 at 1.5, in chrF.
6. MBR with epsilon 0.02 is above beam search in BLEU, too.
7. Among single samples, epsilon 0.02 is above ancestral in chrF.
"""
WAYS = {
    "ancestral": Sampler(),
    "top-k 10": Sampler(top_k=10),
    "top-k 50": Sampler(top_k=50),
    "nucleus 0.9, t=1.5": Sampler(1.5, top_p=0.9, filter_first=True),
    "nucleus 0.9": Sampler(top_p=0.9),
    "epsilon 0.02": Sampler(epsilon=0.02),
    "epsilon 0.02, t=2": Sampler(2.0, epsilon=0.02, filter_first=True),
}
BEAM, OURS, LIMIT = "beam 4", "epsilon 0.02", 16
RESAMPLES = 2000


def cells(quick: bool) -> list[Cell]:
    """A model a cell."""
    params = {"steps": 400, "lines": 60, "draws": 24} if quick else {"steps": 2000, "lines": 400, "draws": 64}
    return [Cell(params, seed) for seed in range(1 if quick else 3)]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    build_corpus(data, [direction("en-fr")]).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """Train a model, decode the held-out lines in every way, score: {way: {measure: [lines]}}."""
    corpus = Corpus.load(shared / "corpus")
    vocab = Vocabulary(text=len(corpus.tokenizer), codebooks=1, codebook_size=2, image=2, picture_tokens=1, frames=1,
                       languages=("en", "fr"))  # fmt: skip
    model = _trained(corpus, vocab, params["steps"], seed)
    pairs, generator = corpus.test["en-fr"], torch.Generator().manual_seed(seed)
    scores: dict[str, dict[str, list[float]]] = {}
    for row in range(min(params["lines"], len(pairs))):
        asked, reference = _sides(corpus, pairs, row)
        want, said = Want("text", "fr", limit=LIMIT), corpus.tokenizer.decode(reference.codes.tolist())
        found = beam_search(begin(model, vocab, [asked], [want]), vocab, want, beams=4)
        _score(scores, BEAM, corpus.tokenizer.decode(found[0].segment.codes.tolist()), said)
        for way, sampler in WAYS.items():
            drawn = draw_many(model, vocab, [asked], want, params["draws"], sampler, generator)
            texts = [corpus.tokenizer.decode(segment.codes.tolist()) for segment in drawn]
            _score(scores, way, texts[mbr(texts, chrf).index], said)
            _score(scores, f"one {way}", texts[0], said)
    return scores


def _score(scores: dict[str, dict[str, list[float]]], way: str, text: str, reference: str) -> None:
    kept = scores.setdefault(way, {"chrf": [], "bleu": []})
    kept["chrf"].append(float(chrf([text], [reference], jobs=1)[0, 0]))
    kept["bleu"].append(float(bleu([text], [reference], jobs=1)[0, 0]))


def _sides(corpus: Corpus, pairs: Pairs, row: int) -> tuple[Segment, Segment]:
    """A line and its translation as a question and its answer."""
    first = corpus.vocab - len(corpus.tokenizer)
    source, target = (side[row][(side[row] >= first)] - first for side in (pairs.source, pairs.target))
    return Segment("text", source), Segment("text", target, "assistant", "fr")


def _trained(corpus: Corpus, vocab: Vocabulary, steps: int, seed: int) -> OmniTransformer:
    torch.manual_seed(seed)
    shape = ModelConfig(d_model=96, n_layers=3, n_heads=3, n_kv_heads=3, d_ff=256, max_steps=64, prefix=True)
    model, pairs = OmniTransformer(shape.for_vocabulary(vocab)), corpus.train["en-fr"]
    random, schedule = np.random.default_rng(seed), Schedule("cosine", steps, 100, final=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        rows = random.integers(len(pairs), size=32)
        losses = model(side_by_side([Laid.of(list(_sides(corpus, pairs, row)), vocab) for row in rows.tolist()]))
        (losses.total / len(losses.each)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * schedule.factor(step)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def judge(results: Results) -> list[Claim]:
    def above(claim: str, way: str, other: str, measure: str = "chrf") -> Claim:
        difference = _by_line(results, way, measure) - _by_line(results, other, measure)
        means = ", ".join(f"{one} {_by_line(results, one, measure).mean():.1f}" for one in (way, other))
        return Claim.above(claim, f"difference in {measure} ({means})", bootstrapped(difference), 0.0)

    others = (BEAM, "ancestral", "top-k 10", "top-k 50", "nucleus 0.9, t=1.5")
    return [
        *(above(f"MBR on epsilon samples is above {other}{'' if other == BEAM else ' samples'}", OURS, other)
          for other in others),
        above("MBR on epsilon samples is above beam search in BLEU, too", OURS, BEAM, "bleu"),
        above("One epsilon sample is above one ancestral sample", f"one {OURS}", "one ancestral"),
    ]  # fmt: skip


def _by_line(results: Results, way: str, measure: str) -> np.ndarray:
    """A score a model and line: [seeds, lines]."""
    return np.array([one.values[way][measure] for one in results])


def bootstrapped(scores: np.ndarray) -> Estimate:
    """The mean of [seeds, lines] with a bootstrap interval over both, which are crossed (Owen 2007)."""
    random, (seeds, lines) = np.random.default_rng(0), scores.shape
    models, drawn = random.integers(seeds, size=(RESAMPLES, seeds)), random.integers(lines, size=(RESAMPLES, lines))
    means = scores[models[:, :, None], drawn[:, None, :]].mean(axis=(1, 2))
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(float(scores.mean()), float(low), float(high), seeds)


def plot(results: Results, folder: Path) -> dict[str, Path]:
    """Quality of every way; and what MBR on epsilon samples is above the others, of which the claims are."""
    measures = {"chrf": "chrF", "bleu": "BLEU"}
    draws = {f"Sentence {named}": _bars(results, measure, named) for measure, named in measures.items()}
    for measure, named in measures.items():
        draws[f"{named}: MBR on {OURS} less MBR on …"] = _differences(results, measure, named)
    return {"Means over lines and seeds, with 95 % of a bootstrap over both": panels(
        draws, folder / "quality.png", across=2)}  # fmt: skip


def _bars(results: Results, measure: str, named: str) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        names = [BEAM, *WAYS]
        for shift, prefix, label in ((-0.2, "", "MBR (beam as it is)"), (0.2, "one ", "a single sample")):
            shown = [name for name in names if prefix + name in results[0].values]
            found = [bootstrapped(_by_line(results, prefix + name, measure)) for name in shown]
            places = [names.index(name) + shift for name in shown]
            axes.bar(places, [one.value for one in found], width=0.38, label=label)
            axes.errorbar(places, [one.value for one in found], _arms(found), fmt="none", ecolor="k", elinewidth=0.8)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_ylabel(f"{named}, 0 to 100", fontsize=8)
        axes.margins(y=0.25)                                            # room for the legend

    return draw


def _differences(results: Results, measure: str, named: str) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        others = [name for name in (BEAM, *WAYS) if name != OURS]
        ours = _by_line(results, OURS, measure)
        found = [bootstrapped(ours - _by_line(results, other, measure)) for other in others]
        shown = [f"{other} (no MBR)" if other == BEAM else other for other in others]
        axes.errorbar([one.value for one in found], shown, xerr=_arms(found), fmt="ko", ms=4, elinewidth=1, capsize=2)
        axes.axvline(0, color="grey", lw=0.8, ls=":")
        axes.invert_yaxis()
        axes.set_xlabel(f"difference in {named} a line, paired", fontsize=8)

    return draw


def _arms(found: Sequence[Estimate]) -> list[list[float]]:
    """Below and above each value, as matplotlib takes intervals."""
    return [[one.value - one.low for one in found], [one.high - one.value for one in found]]


STUDY = Study(
    "Epsilon sampling and minimum Bayes risk decoding",
    "Freitag, Ghorbani and Fernandes 2023",
    PROTOCOL, cells, run, judge, plot, prepare,
)  # fmt: skip
