"""Which frame rate and how many codebooks, chosen by what a model makes of the codes?"""

import contextlib
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omni.train.studies.harness.claims import Claim, Estimate
from omni.train.studies.harness.plots import MARKS, panels
from omni.train.studies.harness.study import Cell, Results, Study, Table
from omni.train.studies.rates.documents import TASKS, Writer, encoded
from omni.train.studies.rates.sample import TEXT, Sample, prepare
from omni.train.studies.rates.verdicts import Codec, Scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from omni.tokenizers.audio import codec as audio

PROTOCOL = """
Question. Which frame rate and how many codebooks at a bit rate? A codec is for a model to hear and to speak with, so
the model decides, and not how near what is decoded comes to the original.

Codecs. Frame rate (12.5, 25, 50 Hz) times bit rate (498 and 997 bit/s), with codebooks of 1,000 codes (levels 8, 5,
5, 5): 12.5 Hz x 4 and x 8, 25 Hz x 2 and x 4, 50 Hz x 1 and x 2; 25 Hz x 4 is omni-tiny's shape, without its codebook
of words. (Quick: 997 bit/s alone.) Each is the preset `quick` (2.0 to 2.3 million parameters) from chance, 600 steps
of six crops of a second (quick 15), spectral losses only. Seeds 0 to 2 (quick 0 and 1) draw the weights and crops of
the codec and the weights and rows of the model.

Data. Of a folder of `omni data voice` the English texts that the preset voice with most of them reads, in recordings
of 0.5 to 6 s: 60 minutes of the training split, drawn by chance, which codec and model both learn from (quick 5), and
200 utterances of the held-out splits (quick 30), with texts that nobody learnt, whose words are in the dictionary of
pocketsphinx. They are grouped by length: ten whose recordings are neighbours in length make a group, 20 groups spread
evenly (quick 3), so that length tells nothing.

Model. A decoder of omni from chance, d_model 128, 3 layers, layout delay, the other settings those of the ablations
(QK-norm, z-loss 1e-4, text_weight 8, Muon at 3e-3, wsd with a decay of 0.45), batches of 2 rows of 512 steps. Text is
its bytes. Documents of two tasks, of every recording one of each: transcribe (hears codes, writes the text) and say
(reads the text, writes codes). Every model has 0.8e12 multiply-adds of training (quick 0.03e12), counted as in the
ablations, so a codec of fewer frames is seen more often; that is what fewer frames are for. Nothing is tuned for a
codec.

Measures, of each held-out utterance.
STOI          of what is decoded from the original's codes (Taal et al. 2011)
recognizer    pocketsphinx, told all held-out texts, picks the right one for what is decoded
transcribe    how surely the model picks the right one of the group's ten texts for the recording's codes. The log
              likelihood of a text counts from its mean over the group's ten recordings, so that texts which are likely
              whatever is heard gain nothing
say           the same by the log likelihood of the recording's codes after each of the ten texts
Of the last two `right` is the share of the likeliest texts that are right (0.1 by chance), and `nats` is ln 10 plus
the log of the share that the right text has of the exponentials of all ten: 0 for a guess, 2.30 when it is sure and
right (as van den Oord et al. 2018 bound information). Both mean the same for every codec, which a loss in nats a code
does not. Downstream is the mean of the two `nats`.

Claims. At each bit rate: 25 Hz, the rate that ships, is above either other rate downstream. At each bit rate, for
STOI and for the recognizer: the codec that is best by it (mean over seeds; of equals the one of fewer frames) is
above the better of the other two downstream. At each frame rate: 997 bit/s are above 498 downstream. Statistic: the
difference of downstream, above 0. Its 95 % interval adds in quadrature the bootstrap over groups, the same draws for
both, and the doubt about seeds: Student's interval with the deviation between seeds pooled over all codecs.
"""

SHAPES = {498: ((12.5, 4), (25.0, 2), (50.0, 1)), 997: ((12.5, 8), (25.0, 4), (50.0, 2))}  # by bits a second
SEEDS, QUICK_SEEDS = 3, 2
CODES = 1000                                                            # of a codebook
STEPS, QUICK_STEPS = 600, 15                                            # of a codec's training
BUDGET, QUICK_BUDGET = 0.8e12, 3e10                                     # multiply-adds of a model's training
QUICK = SHAPES[997]
SHIPPED: Mapping[int, Codec] = {498: (25.0, 2), 997: (25.0, 4)}         # omni-tiny's rate, and its codec
DOWNSTREAM, STOI, RECOGNIZED, ORIGINAL = "downstream", "STOI", "recognizer", "recognizer, original"
CHOOSERS = (STOI, RECOGNIZED)                                           # measures of reconstruction


def cells(quick: bool) -> list[Cell]:
    """By seeds, so that a study that is stopped has whole ones."""
    shapes = QUICK if quick else [shape for of_bits in SHAPES.values() for shape in of_bits]
    given = {"steps": QUICK_STEPS, "budget": QUICK_BUDGET} if quick else {"steps": STEPS, "budget": BUDGET}
    return [
        Cell({"frame_rate": rate, "codebooks": codebooks, **given}, seed)
        for seed in range(QUICK_SEEDS if quick else SEEDS)
        for rate, codebooks in shapes
    ]


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """Train a codec, then a model on its codes, both with what is learnt from alone; stopped, it goes on.

    scores: of each measure a value a held-out utterance, None where it is undefined
    """
    folder = shared.parent / "runs" / Cell(params, seed).key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "progress.log").open("a") as log, contextlib.redirect_stderr(log):  # two bars would overwrite
        values = _measured(params, seed, shared, folder)
    shutil.rmtree(folder)
    return values


def _measured(params: Mapping[str, Any], seed: int, shared: Path, folder: Path) -> dict[str, Any]:
    from omni.tokenizers.bundle import Tokenizers
    from omni.tokenizers.text import TextTokenizer
    from omni.train.studies.rates.learning import learnt_codec, learnt_model
    from omni.train.studies.rates.listening import likelihoods, told_apart

    sample, text = Sample.load(shared), TextTokenizer.load(shared / TEXT)
    codec = learnt_codec(sample, params["frame_rate"], params["codebooks"], params["steps"], seed, folder / "codec")
    writer = Writer.of(text, codec, sample.voice)
    writer.write(folder / "shards", sample.learnt, encoded(codec, sample, sample.learnt))
    tokenizers = Tokenizers(text=text, audio=codec)
    model, cost = learnt_model(folder / "shards", tokenizers, params["budget"], seed, folder)
    texts, codes = [one.text for one in sample.asked], encoded(codec, sample, sample.asked)
    scores, nats = _reconstruction(codec, sample, codes), []
    for task in TASKS:
        found = told_apart(likelihoods(model, writer, task, texts, codes), task)
        scores |= {f"{task}, {name}": [*values] for name, values in found.items()}
        nats.append(found["nats"])
    scores[DOWNSTREAM] = np.mean(nats, axis=0).tolist()
    return {"parameters": sum(model.config.parameters().values()), **vars(cost), "scores": scores}


def _reconstruction(
    codec: "audio.Codec", sample: Sample, codes: "Sequence[NDArray[np.int64]]"
) -> dict[str, list[float | None]]:
    """Of each held-out utterance STOI, and whether a recognizer picks its text, decoded and as it was."""
    from omni.train.studies.rates.decoding import decoded, likeness, recognized

    waves, texts = [sample.wave(one) for one in sample.asked], [one.text for one in sample.asked]
    again = [decoded(codec, frames, len(wave)) for frames, wave in zip(codes, waves, strict=True)]
    return {
        STOI: [likeness(*pair) for pair in zip(waves, again, strict=True)],
        RECOGNIZED: [*recognized(again, texts)],
        ORIGINAL: [*sample.recognized],
    }


def judge(results: Results) -> list[Claim]:
    """At each bit rate: does the rate that ships lead downstream, and does reconstruction choose the same codec as it;
    at each frame rate: do more bits help?"""
    scores, claims = Scores.of_results(results), list[Claim]()
    for bits, shapes in SHAPES.items():
        there = [shape for shape in shapes if shape in scores.of]
        for other in there:
            if SHIPPED[bits] in there and other != SHIPPED[bits]:
                claims.append(_leads(scores, SHIPPED[bits], other, f"at {bits} bit/s"))
        if len(there) > 1:
            claims += [_chooses(scores, measure, bits, there) for measure in CHOOSERS]
    for fewer, more in zip(*SHAPES.values(), strict=True):
        if {fewer, more} <= set(scores.of):
            claims.append(_leads(scores, more, fewer, f"at {more[0]:g} Hz"))
    return claims


def _leads(scores: Scores, codec: Codec, other: Codec, where: str) -> Claim:
    gap = scores.difference(DOWNSTREAM, codec, other)
    return Claim.above(f"{where} {_name(codec)} tells a model more than {_name(other)}", "nats of ten", gap, 0.0)


def _chooses(scores: Scores, measure: str, bits: int, codecs: Sequence[Codec]) -> Claim:
    """That what a measure of reconstruction likes best is what tells a model most."""
    best = max(codecs, key=lambda codec: scores.mean(measure, codec).value)
    rival = max((one for one in codecs if one != best), key=lambda codec: scores.mean(DOWNSTREAM, codec).value)
    gap = scores.difference(DOWNSTREAM, best, rival)
    what = f"the choice by {measure} at {bits} bit/s, {_name(best)}, is the choice by downstream"
    return Claim.above(what, f"nats of ten above {_name(rival)}", gap, 0.0)


def _name(codec: Codec) -> str:
    return f"{codec[0]:g} Hz x {codec[1]}"


def _bits(codec: Codec) -> float:
    """A second."""
    return codec[0] * codec[1] * math.log2(CODES)


def tables(results: Results) -> dict[str, Table]:
    """Every measure of every codec, and what it costs."""
    scores, first = Scores.of_results(results), {}
    for one in reversed(results):
        first[(one.params["frame_rate"], one.params["codebooks"])] = one.values
    measures = [name for name in scores.means if name != ORIGINAL]
    rows = [["codec", "bit/s", "steps a second", *measures]]
    costs = [["codec", "M parameters", "k steps", "documents", "multiply-adds"]]
    for codec in sorted(scores.of, key=lambda one: (_bits(one), one)):
        cells = [_shown(scores.mean(name, codec)) for name in measures]
        rows.append([_name(codec), f"{_bits(codec):.0f}", f"{codec[0]:g}", *cells])
        values = first[codec]
        amounts = f"{values['parameters'] / 1e6:.2f}", f"{values['steps'] / 1e3:.0f}", f"{values['documents']:.0f}"
        costs.append([_name(codec), *amounts, f"{values['multiply_adds']:.2e}"])
    ceiling = f"; of the originals the recognizer picks {_shown(scores.mean(ORIGINAL, next(iter(scores.of))))}"
    return {f"Scores on held-out utterances, with 95 % intervals{ceiling}": rows, "What the models had": costs}


def _shown(score: Estimate) -> str:
    return f"{score.value:.2f}" if math.isnan(score.low) else f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


PANELS = {STOI: "STOI", RECOGNIZED: "picked by the recognizer, share", DOWNSTREAM: "told to the model, nats of ten"}


def plot(results: Results, folder: Path) -> Mapping[str, Path]:
    """Reconstruction and downstream against bits a second, a curve a frame rate."""
    scores = Scores.of_results(results)
    rates = sorted({rate for rate, _ in scores.of})

    def drawn(measure: str) -> Any:
        def draw(axes: Any) -> None:
            for number, rate in enumerate(rates):
                codecs = sorted(codec for codec in scores.of if codec[0] == rate)
                found = [scores.mean(measure, codec) for codec in codecs]
                values = np.array([one.value for one in found])
                arms = np.array([[one.value - one.low, one.high - one.value] for one in found]).T
                across = [_bits(codec) * 1.02 ** (number - 1) for codec in codecs]  # intervals side by side
                axes.errorbar(across, values, arms, marker=MARKS[number], ms=4, capsize=2, label=f"{rate:g} Hz")
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.set_xticks(list(SHAPES), [str(bits) for bits in SHAPES])
            axes.set_xlim(min(SHAPES) / 1.2, max(SHAPES) * 1.2)
            axes.set_xlabel("bits a second", fontsize=8)

        return draw

    path = panels({title: drawn(name) for name, title in PANELS.items()}, folder / "rates.png")
    return {"Reconstruction and what a model makes of the codes, against the bit rate": path}


STUDY = Study(
    "The frame rate, chosen by what a model makes of the codes", "Défossez et al. 2024 (Mimi), Copet et al. 2023",
    PROTOCOL, cells, run, judge, plot, prepare, tables=tables, voiced=True,
)  # fmt: skip
