"""The figures of the edge of stability: curvature by step against its threshold, and all eigenvalues at the end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omni.train.studies.dynamics.plots import THRESHOLD, Line, lines, spectra
from omni.train.studies.harness.plots import panels
from omni.train.studies.harness.study import Result, Results

RATES = {"adam": "lr 0.001", "adam, lr 0.003": "lr 0.003", "adam, lr 0.01": "lr 0.01"}
FIRST = {"adam": "b1 0.9", "adam, b1 0.5": "b1 0.5", "adam, b1 0.95": "b1 0.95"}
SPEED = {"adam": "b2 0.99, squared error", "b2 0.999": "b2 0.999", "cross-entropy": "cross-entropy"}
OTHERS = {"gradient descent": "gradient descent", "heavy ball": "heavy ball", "rmsprop": "RMSProp"}
MODELS = {"cnn": "convolutions", "omni": "omni Transformer"}
SHARP, SCALED, RATIO = "sharpness", "preconditioned sharpness", "sharpness / threshold"
Setting = Mapping[str, str]                                             # name: as the legend has it


def plot(results: Results, folder: Path) -> Mapping[str, Path]:
    """Curvature by step with the thresholds, as in the paper's figures; and the eigenvalues at the end."""

    def drawn(names: Setting, key: str, y: str, limit: str, log: bool = False) -> Callable[[Any], None]:
        return lines(_curves(results, names, key, limit), y, log)

    draws = {
        "Adam, learning rates": drawn(RATES, "preconditioned", SCALED, "38/lr", log=True),
        "Adam, b1": drawn(FIRST, "preconditioned", SCALED, "(2 + 2 b1)/((1 - b1) lr)", log=True),
        "Adam, schedules": drawn(
            {"warmup": "warmup", "decay": "decay"}, "preconditioned", SCALED, "38/lr at the step", log=True
        ),
        "Adam, b2 and loss": drawn(SPEED, "ratio", RATIO, "threshold"),
        "Adam, batches": drawn(
            {"adam": "all 512", "batch 256": "256", "batch 32": "32"}, "ratio", RATIO, "threshold"
        ),
        "other models": drawn(MODELS, "ratio", RATIO, "threshold", log=True),
        "other optimizers": drawn(OTHERS, "ratio", RATIO, "threshold"),
        "gradient descent, raw sharpness": drawn({"gradient descent": "gradient descent"}, "sharpness", SHARP, "2/lr"),
        "Adam, raw sharpness": drawn(RATES, "sharpness", SHARP, ""),
    }
    panels(draws, folder / "edge.png", across=3)
    ended = {one.params["setting"]: (one.values["nodes"], one.values["weights"]) for one in results if _last(one)}
    groups = {
        "Adam": {**RATES, **FIRST, "adam": "lr 0.001, b1 0.9"},
        "other optimizers": OTHERS,
        "other models, warmup": {**MODELS, "warmup": "warmup"},
    }
    of = {title: {label: ended[name] for name, label in of.items() if name in ended} for title, of in groups.items()}
    spectra(of, folder / "spectra.png")
    return {
        "Curvature by step and its threshold (dotted): seed 0, the others thin": folder / "edge.png",
        "Eigenvalues of the preconditioned Hessian at the end, seed 0": folder / "spectra.png",
    }


def _last(run: Result) -> bool:
    """Whether a run ended with its eigenvalues."""
    return "nodes" in run.values


def _curves(results: Results, names: Setting, key: str, limit: str) -> list[Line]:
    """The runs of some settings, seed 0 above the others, and above all their thresholds, where `limit` names these."""
    found, limits = list[Line](), list[Line]()
    for at, (name, label) in enumerate(names.items()):
        runs = sorted((one for one in results if one.params["setting"] == name), key=lambda one: -one.seed)
        for one in runs:
            weight = {"lw": 1.4} if one.seed == 0 else {"lw": 0.6, "alpha": 0.5}
            look = {"color": f"C{at}", "ls": ("-", "--", "-.")[at], **weight}
            found.append(Line(label, _points(one, key), look, told=one.seed == 0))
        if limit and runs:
            limits.append(Line(limit, _threshold(runs[-1], key), THRESHOLD))
    return found + (limits[:1] if key == "ratio" else limits)


def _points(run: Result, key: str) -> list[tuple[float, float]]:
    return list(zip(run.values["step"], run.values[key], strict=True))


def _threshold(run: Result, key: str) -> list[tuple[float, float]]:
    """By step, in the unit of a column: a ratio's is 1, and the others are what the ratio is counted from."""
    if key == "ratio":
        return [(0, 1.0), (run.params["steps"], 1.0)]
    values = run.values
    return [
        (step, scaled / ratio)
        for step, scaled, ratio in zip(values["step"], values["preconditioned"], values["ratio"], strict=True)
    ]
