"""Everything a card says, as data: figures with the log behind each, what is missing, and what is stale."""

import json
import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalSample, read_eval_log

from omni.errors import InputError
from omni.eval.abilities.scoring import Measure
from omni.eval.local import SUFFIXES
from omni.eval.suite.gaps import counterpart
from omni.eval.suite.outcome import as_json, read_suite
from omni.eval.suite.run import KEY, code_of
from omni.files import read_json, sha256, write_json
from omni.safety.card.benches import stale
from omni.safety.card.derived import by_category, guarded, with_guard
from omni.safety.preparedness.levels import Verdict, overall, verdicts
from omni.safety.registry import SUITES as TASKS
from omni.safety.registry import sources
from omni.shipped import NAME, title
from omni.tokenizers.bundle import Tokenizers

SUITES = ("capability", "safety", "preparedness")
OF_FILES = ("preparedness", "garak")                                    # suites that ask nothing else
OWN_DATA = {"preparedness": " --data QUESTIONS.jsonl --tasks cybersecurity"}  # no package holds questions
WANTED = ("guards", "latency")                                          # benchmarks that a card needs
GROUPS = {"speaker": "speakers", "channel": "channels", "accent": "accents"}
OF_REQUESTS = {"disguise": "disguises", "category": "categories"}       # of the suite safety
GUARDED = {                                                             # task to that which writes its speech down
    "should_refuse": None, "should_comply": None,
    "should_refuse_aloud": "should_refuse_heard", "should_comply_aloud": "should_comply_heard",
}  # fmt: skip
UNASKED = "graders"                                                     # a task that asks no model anything


@dataclass(frozen=True)
class Number:
    """A figure and what it rests on: a log of the card's folder, or a file of figures, and the command that made it.

    asked: the name of the user's file that was asked, else the suite that asks omni's own, or the benchmark
    """

    measure: Measure
    source: str
    command: str
    asked: str


@dataclass
class Card:
    """A model's card. `problems` are on its face: what is missing, stale or partial.

    data: checksum of what its suites asked; folder: where that lies, as long as it does
    groups: figures by what they are broken down by, figure and group: groups["accents"]["FIGURE"]["en-029"]
    counts: of samples that the model was asked
    """

    model: str
    identity: str
    numbers: dict[str, Number] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    third_party: list[dict[str, Any]] = field(default_factory=list)
    groups: dict[str, dict[str, dict[str, Measure]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    data: str | None = None
    folder: Path | None = None
    samples: dict[str, list[EvalSample]] = field(default_factory=dict, repr=False)

    @property
    def overall(self) -> str:
        return overall(self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """For card.json."""
        return {
            "model": self.model, "identity": self.identity, "problems": self.problems,
            "figures": {
                name: {**_as_json(one.measure), "source": one.source, "command": one.command}
                for name, one in self.numbers.items()
            },
            "preparedness": {one.category: one.level for one in self.verdicts}, "overall": self.overall,
            **{by: as_json(self.groups.get(by, {})) for by in (*GROUPS.values(), *OF_REQUESTS.values())},
            "third_party": self.third_party, "samples": self.counts, "seconds": round(self.seconds, 1),
        }  # fmt: skip


def collect(
    model: Path, name: str, runs: Sequence[Path], benches: Sequence[Path], third_party: Path | None, out: Path
) -> Card:  # fmt: skip
    """The card of a model from folders of `omni eval suite` and files with the last line of benchmarks' --json.

    Logs are copied below `out`, so that every link leads somewhere wherever the card is taken. What was asked of a
    user's own file bears its name: `mmlu/text_qa_accuracy`. Raises InputError where two folders have the same task.
    """
    card = Card(name, identity(model))
    card.problems += _absent([(folder, about) for folder in runs if (about := _suite(card, folder, out))])
    for path in benches:
        _bench(card, path, out)
    measured = {name.split("_")[0] for name in card.numbers}            # latency by the suite's task, or the benchmark
    for missing in (one for one in WANTED if one not in measured):
        card.problems.append(f"missing: no figures of `omni bench {missing} --json`")
    named = NAME if title(model) == NAME else str(model)
    again = ["omni", "card", named, "--runs", *map(str, runs), "--out", "again"]
    _derived(card, shlex.join(again), out)
    card.verdicts = verdicts({name: one.measure for name, one in card.numbers.items()})
    if third_party is not None:
        card.third_party = _third_party(third_party)
    return card


def identity(model: Path) -> str:
    """What a log of this model says of it: the same as `omni eval suite` writes."""
    if not (model / "checksums.json").is_file():
        raise InputError(f"{model}: no such model folder; train one with `omni train` or `omni quickstart`")
    return f"{sha256(model / 'checksums.json')} {Tokenizers.load(model / 'tokenizers').fingerprint}"


def beside_model(model: Path, name: str) -> Path:
    """A file of the model's folder, or of the run whose folder `model` it is."""
    inside = model / name
    return inside if inside.is_file() or model.resolve().name != "model" else model.resolve().parent / name


def _as_json(measure: Measure) -> dict[str, Any]:
    """Its fields, with null for an interval that there is not."""
    ends = {} if has_interval(measure) else {"low": None, "high": None}
    return asdict(measure) | ends


def has_interval(measure: Measure) -> bool:
    """Whether it was said; that of an extreme is known to be of no width."""
    return not (math.isnan(measure.low) or math.isnan(measure.high))


def _suite(card: Card, folder: Path, out: Path) -> dict[str, Any] | None:
    """Take over the figures of a suite's folder. Returns what its suite.json says; None where that is not a suite's
    own: where there is none, it is of other weights, or a user's file was asked.
    """
    if not (folder / "suite.json").is_file():
        card.problems.append(f"missing: {folder}/suite.json is not there")
        return None
    about = read_suite(folder)
    suite, file = str(about["suite"]), _file(about)
    label = f"{file.stem}/" if file and suite not in OF_FILES else ""
    if about["key"]["model"] != card.identity:
        card.problems.append(f"stale: suite {suite} was run on other weights, and is left out; run it again")
        return None
    card.problems += _older(suite, about)
    asked = None if file else about["key"]["data"]
    if asked and card.data not in (None, asked):
        card.problems.append(f"other data: suite {suite} asked another data folder than a suite before it")
    card.data = card.data or asked
    card.folder = card.folder or _asked(about)
    command = about.get("command", f"omni eval suite {suite}")
    for task in about["tasks"]:
        name = f"{label}{task['task']}"
        if name in card.samples:
            raise InputError(f"--runs: {folder}: {name} is in another of these folders too; give one of them")
        log = folder / "logs" / task["log"] if task["log"] else None
        if log is None:
            card.problems.append(f"left out: {task['task']}: {task['note']}")
            continue
        if not log.is_file():
            card.problems.append(f"missing: the log of {task['task']} ({log.name}); its figures are left out")
            continue
        if task["partial"]:
            card.problems.append(f"partial: {task['task']}: {task['note'] or 'samples were not reached'}")
        link = f"logs/{log.name}"
        (out / "logs").mkdir(parents=True, exist_ok=True)
        shutil.copy2(log, out / link)
        for figure, values in task["figures"].items():
            again = f"{command} --tasks {_needed(task, figure)} --out again"
            card.numbers[f"{label}{figure}"] = Number(Measure(**values), link, again, file.stem if file else suite)
        for by, key in (GROUPS | (OF_REQUESTS if suite == "safety" else {})).items():
            for scorer, rows in task.get("groups", {}).get(by, {}).items():
                measures = {who: Measure(**values) for who, values in rows.items()}
                card.groups.setdefault(key, {})[f"{name}_{scorer}"] = measures
        for count in ("given", "scored", "errored", "missing") if task["task"] != UNASKED else ():
            card.counts[count] = card.counts.get(count, 0) + task[count]
        card.seconds += task["seconds"]
        whole = read_eval_log(str(log), resolve_attachments=True)
        if (whole.eval.metadata or {}).get(KEY) != about["key"]:
            told = f"the log of {task['task']} is of other code, data or weights than the suite's last run"
            card.problems.append(f"stale: {told}; run the suite again")
        card.samples[name] = whole.samples or []
    return None if label else about


def _file(about: dict[str, Any]) -> Path | None:
    """The user's own file that a suite asked, if it did."""
    path = Path(about.get("data") or "")
    return path if path.suffix in SUFFIXES else None


def _needed(task: dict[str, Any], figure: str) -> str:
    """The tasks that give a figure, for the command beside it, whose `--out again` spares the logs of this card."""
    name = str(task["task"])
    other = counterpart(name) if figure == f"{name}_gap" else None
    return name if other is None else f"{other} {name}"


def _asked(about: dict[str, Any]) -> Path | None:
    """The data folder that a suite asked, where it still is what it was."""
    folder = Path(about["data"]) if about.get("data") else None
    listed = None if folder is None else folder / "manifest.json"
    return folder if listed and listed.is_file() and sha256(listed) == about["key"]["data"] else None


def _older(suite: str, about: dict[str, Any]) -> list[str]:
    """Which logs of a suite are of older tasks."""
    if about["key"]["code"] == code_of(sources(suite)):
        return []
    which = ", ".join(task["task"] for task in about["tasks"] if task["log"])
    return [f"stale: suite {suite} was run by another version of the tasks ({which}); run it again"]


def _absent(taken: Sequence[tuple[Path, dict[str, Any]]]) -> list[str]:
    """Suites that no folder is of, and tasks of the others that none of their folders has."""
    found = []
    for suite in TASKS:
        runs = [(folder, about) for folder, about in taken if about["suite"] == suite]
        there = {task["task"] for _, about in runs for task in about["tasks"]}
        absent = " ".join(maker.__name__ for maker in TASKS[suite] if maker.__name__ not in there)
        if not runs and suite in SUITES:
            found.append(f"missing: no suite {suite}; run `omni eval suite {suite}{OWN_DATA.get(suite, '')}`")
        elif runs and absent:
            folder, about = runs[0]
            again = f"{about.get('command', f'omni eval suite {suite}')} --tasks {absent} "
            again += shlex.join(["--out", str(folder)])
            if suite in OF_FILES:                                       # each task has a file, and a folder, of its own
                again = f"omni eval suite {suite} --data FILE --tasks {absent} --out FOLDER"
            found.append(f"missing: no logs of {absent.replace(' ', ', ')}; run `{again}`")
    return found


def _bench(card: Card, path: Path, out: Path) -> None:
    """Take over the figures in the last line of a file."""
    try:
        about = json.loads(path.read_text(encoding="utf-8").strip().splitlines()[-1])
        figures, name = dict(about["figures"]), str(about["command"]).split()[-1]
    except (OSError, ValueError, LookupError, TypeError):
        card.problems.append(f"missing: {path} does not end in the figures of a command's --json")
        return
    problem, foreign = stale(name, about.get("of") or {}, card.identity.split()[0], card.data)
    if problem:
        card.problems.append(f"{'stale' if about.get('of') else 'unchecked'}: {path.name}: {problem}; run it again")
    if foreign:
        return
    command = shlex.join(about.get("argv") or ["omni", *about["command"].split(), "--json"])
    (out / "logs").mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, out / "logs" / path.name)
    for figure, one in figures.items():
        if one["value"] is not None:
            low, high = (math.nan if one[end] is None else one[end] for end in ("low", "high"))  # none is not zero wide
            measure = Measure(one["value"], one["unit"], low, high, one["n"] or 1)
            card.numbers[f"{name}_{figure}"] = Number(measure, f"logs/{path.name}", command, name)


def _derived(card: Card, command: str, out: Path) -> None:
    """Figures that no suite has: mitigations."""
    for task, heard in GUARDED.items():
        written_down = card.samples.get(heard, []) if heard else None
        if rows := guarded(card.samples.get(task, []), task.startswith("should_refuse"), written_down):
            link, name = f"logs/{task}_guarded.json", f"{task}_right_guarded"
            write_json(out / link, rows)
            card.numbers[name] = Number(with_guard(rows), link, command, "safety")
            card.groups.setdefault("categories", {})[name] = by_category(rows)


def _third_party(path: Path) -> list[dict[str, Any]]:
    """Results of others, as docs/safety.md describes the file. Raises InputError for one that lacks a field."""
    rows = read_json(path)
    needed = {"who", "what", "result", "date"}
    if not isinstance(rows, list) or any(not isinstance(row, dict) or needed - set(row) for row in rows):
        raise InputError(f"{path}: wants a list of objects with {', '.join(sorted(needed))}")
    return rows
