"""Is a variant better than the base? Differences on the same documents, with what chance leaves open."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from omni.train.studies.harness.claims import Estimate
from omni.train.studies.harness.doubt import doubted, resampled
from omni.train.studies.harness.study import Result, Results


@dataclass(frozen=True)
class Runs:
    """Log losses of runs on held-out documents.

    of:   numbers of the runs of each variant
    logs: of each task, [runs, 1 + RESAMPLES]: log of nats a unit, on the documents and on resamples of their items
    """

    of: Mapping[str, list[int]]
    logs: Mapping[str, np.ndarray]

    @classmethod
    def of_results(cls, results: Results) -> "Runs":
        """The finished runs; one whose losses are no numbers counts as none."""
        results = [one for one in results if _is_finite(one)]
        of: dict[str, list[int]] = {}
        for number, one in enumerate(results):
            of.setdefault(one.params["variant"], []).append(number)
        tasks = results[0].values["nats"] if results else ()
        return cls(of, {task: _log_losses(results, task) for task in tasks})

    def loss(self, variant: str, task: str) -> float:
        """Nats a unit, the geometric mean over runs."""
        return float(np.exp(self.logs[task][self.of[variant], 0].mean()))

    def change(self, variant: str, tasks: Sequence[str]) -> Estimate:
        """By how many per cent its loss is above the base's, the geometric mean over tasks.

        The interval is that of `doubted`: over held-out items, the same draws for both, and over seeds.
        """
        tasks = [task for task in tasks if task in self.logs]
        if variant not in self.of or "base" not in self.of or not tasks:
            return Estimate(math.nan, math.nan, math.nan, 0)
        logs = np.mean([self.logs[task] for task in tasks], axis=0)     # [runs, 1 + RESAMPLES]
        mine, base = self.of[variant], self.of["base"]
        differences = logs[mine].mean(axis=0) - logs[base].mean(axis=0)
        repeated = [logs[runs, 0] for runs in self.of.values()]
        found = doubted(differences, repeated, 1 / len(mine) + 1 / len(base), len(mine))
        value, low, high = (100 * math.expm1(at) for at in (found.value, found.low, found.high))
        return Estimate(value, low, high, len(mine))


def _is_finite(result: Result) -> bool:
    return all(nats is not None and math.isfinite(nats) for one in result.values["nats"].values() for nats in one)


def _log_losses(results: Results, task: str) -> np.ndarray:
    amounts = np.array(results[0].values["amounts"][task])              # [documents]
    names, item = np.unique(results[0].values["items"][task], return_inverse=True)
    weights = resampled(len(names))[:, item]                            # [1 + RESAMPLES, documents]
    nats = np.array([one.values["nats"][task] for one in results])      # [runs, documents]
    return np.asarray(np.log(nats @ weights.T / (amounts @ weights.T)))
