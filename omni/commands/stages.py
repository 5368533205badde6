"""The stages of a quickstart, each a run of the verb that a user would type, so that each resumes by itself."""

import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.shipped import shipped_model

SOURCES = ("stamps", "prompts", "emoji")
LANGUAGES = ("en", "es", "fr", "it", "ru")                              # of the prompts; more would get less time each
AFTER_TRAINING = 190.0                                                  # seconds of card, evaluation and answer
CARD_SAMPLES = 8                                                        # a task: a first look
WEIGHTS = {                                                             # sound takes most tokens; words need the time
    "caption": 2.0, "translate": 2.0, "transcribe": 2.0, "translate_speech": 1.5, "video": 2.0,
    "describe": 0.5, "interpret": 0.5, "draw": 0.7, "say": 0.7,
}  # fmt: skip
LAYOUT = "delay"                                                        # the codec's four codes a step take one step
LEAST_TRAINING_SHARE = 0.2
VALIDATIONS_COST = 0.93                                                 # of the training time is left for steps


class Quickstart:
    """Everything from packages to a report, under one folder."""

    def __init__(self, out: Path, minutes: float, cache: Path | None, nproc: int) -> None:
        self.out, self.seconds, self.cache, self.nproc = out, 60 * minutes, cache, nproc
        self.data, self.shards = out / "data", out / "shards"
        self.tokenizers = shipped_model() / "tokenizers"                # learnt in an hour that nobody has to wait for
        self.timings = out / "timings.json"
        self.spent: dict[str, float] = {}

    def run(self) -> None:
        """Every stage in order; finished ones return at once."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._check_plan()
        self.spent = read_json(self.timings) if self.timings.exists() else {}
        stages: list[tuple[str, Callable[[], None]]] = [
            ("fetch", self.fetch), ("prepare", self.prepare), ("tokenize", self.tokenize), ("train", self.train),
            ("card", self.card), ("evaluate", self.evaluate), ("answer", self.answer),
        ]  # fmt: skip
        for number, (name, stage) in enumerate(stages, start=1):
            print(f"\n[{number}/{len(stages)}] {name}", flush=True)
            self._timed(name, stage)
        total = sum(self.spent.values())
        print(f"\nreport: {self.out / 'report.html'}\nanswer: {self.out / 'answer'}\nmodel:  {self.out / 'model'}")
        print(f"took {total / 60:.1f} minutes: " + ", ".join(f"{name} {s:.0f} s" for name, s in self.spent.items()))

    def _check_plan(self) -> None:
        """A folder keeps the length it was begun with, since the training schedules depend on it."""
        plan = {"seconds": self.seconds}
        if (self.out / "plan.json").exists() and read_json(self.out / "plan.json") != plan:
            begun = read_json(self.out / "plan.json")["seconds"] / 60
            raise InputError(f"{self.out} was begun with --minutes {begun:g}; use that, or another --out")
        write_json(self.out / "plan.json", plan)

    def _timed(self, name: str, stage: Callable[[], None]) -> None:
        """Run a stage and add its time to the account, also when it is interrupted."""
        begun = time.monotonic()
        try:
            stage()
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.monotonic() - begun
            write_json(self.timings, self.spent)

    def fetch(self) -> None:
        omni("data", "fetch", "--only", *SOURCES, *self._cache())

    def prepare(self) -> None:
        if not (self.data / "manifest.json").exists():
            omni("data", "prepare", "--only", *SOURCES, "--out", str(self.data), *self._cache())

    def _cache(self) -> list[str]:
        return ["--cache", str(self.cache)] if self.cache else []

    def tokenize(self) -> None:
        folders = ("--data", str(self.data), "--tokenizers", str(self.tokenizers), "--out", str(self.shards))
        omni("data", "tokenize", *folders, "--languages", *LANGUAGES, "--layout", LAYOUT)

    def train(self) -> None:
        """As many steps as the time left allows, chosen once, so that a resumed run is the same run."""
        from omni.train.launch import launch
        from omni.train.recipe import Recipe

        plan = self.out / "steps.json"
        if not plan.exists():
            write_json(plan, {"steps": self._affordable_steps()})
        launch(Recipe.load("mini", self._recipe(read_json(plan)["steps"])), self.out, self.nproc)

    def _recipe(self, steps: int) -> dict[str, Any]:
        """What differs from the recipe that ships."""
        return {
            "data": [str(self.shards / "train")],
            "valid": [str(self.shards / "valid")],
            "tokenizers": str(self.tokenizers),
            "mixture.weights": WEIGHTS,
            "schedule.steps": steps,
            "schedule.warmup": min(40, steps // 5),
            "validate.every": max(1, steps // 5),
        }

    def _affordable_steps(self) -> int:
        from omni.train.launch import measure_throughput
        from omni.train.recipe import Recipe

        print("measuring how fast this machine trains")
        begun = time.monotonic()
        rates = measure_throughput(Recipe.load("mini", self._recipe(100)), self.nproc)
        spent = sum(self.spent.values()) + time.monotonic() - begun
        left = self.seconds - AFTER_TRAINING - spent - rates.start_seconds
        left = max(left, LEAST_TRAINING_SHARE * self.seconds)
        steps = max(20, int(VALIDATIONS_COST * left / rates.seconds_per_step))
        print(f"{rates.tokens_per_second:,.0f} tokens a second: {steps} steps in {left / 60:.1f} minutes")
        return steps

    def card(self) -> None:
        """The System Card, where Inspect is installed; the report leads to it."""
        if importlib.util.find_spec("inspect_ai") is None:
            print("left out: the System Card needs Inspect; pip install 'omni[eval]', then the same command")
            return
        card, model = self.out / "card", str(self.out / "model")
        if (card / "card.html").exists():
            return
        suites = {self.out / name: first_look(name) for name in ("capability", "safety")}
        for suite, tasks in suites.items():
            omni("eval", "suite", suite.name, "--model", model, "--data", str(self.data), "--limit", str(CARD_SAMPLES),
                 "--out", str(suite), "--tasks", *tasks)  # fmt: skip
        omni("card", model, "--runs", *map(str, suites), "--out", str(card))

    def evaluate(self) -> None:
        if not (self.out / "report.html").exists():
            out, data, shards = str(self.out), str(self.data), str(self.shards)
            omni("eval", "--run", out, "--data", data, "--shards", shards)

    def answer(self) -> None:
        """A held-out picture, described aloud in French, the language with the most recordings."""
        from omni.tokenizers.image.pixels import to_pixels, write_picture
        from omni.train.data.items import Manifest

        manifest = Manifest.load(self.data)
        item = next(item for item in manifest.of(split="test", source="stamps") if item.pictures and "fr" in item.texts)
        asked = self.out / "answer" / "asked.png"
        write_picture(asked, to_pixels(manifest.picture(item.pictures[0])))
        print(f"{asked} ({item.texts['fr']}) is described aloud:")
        model, out = str(self.out / "model"), str(asked.parent)
        sampling = ("--temperature", "0.8", "--top-p", "0.9", "--max-seconds", "5")
        omni("generate", "--model", model, "--image", str(asked), "--want", "text,audio", "--language", "fr",
             "--out", out, *sampling)  # fmt: skip


def first_look(name: str) -> list[str]:
    """The tasks of a suite but for jailbreaks, which ask five times of each disguise whatever the limit."""
    from omni.safety.registry import suite

    return [one.__name__ for one in suite(name) if not one.__name__.startswith("jailbreaks")]


def omni(*words: str) -> None:
    """Run one verb in a process of its own, whose memory is then free again; the whole command ends as it did.

    Ctrl-C reaches it too: it saves, and says how to go on.
    """
    process = subprocess.Popen([sys.executable, "-m", "omni.cli", *words])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        code = 130 if process.wait() == 130 else -signal.SIGINT
    except SystemExit:                                                  # SIGTERM, which comes to this process alone
        process.terminate()
        process.wait()
        raise
    if code == -signal.SIGINT:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)
