"""When a run saves, and how it goes on: checkpoints in the background, agreed on by all ranks between two steps."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.folder import WEIGHTS
from omni.train.data.loader import Dataset
from omni.train.recipe import Recipe
from omni.train.state.checkpoint import Checkpoints, Reader, Saving, State, check_same_run, restore
from omni.train.state.export import Exporter
from omni.train.state.fragments import fragments, refresh, set_optimizer_steps


class Saver:
    """Saves and restores the state of one run. All ranks call every method together."""

    def __init__(self, run: Path, recipe: Recipe, engine: Any, optimizer: Any, config: ModelConfig) -> None:
        self.run, self.recipe, self.engine, self.optimizer = run, recipe, engine, optimizer
        self.rank, self.world = int(engine.global_rank), int(engine.world_size)
        self.checkpoints = Checkpoints(run, self.rank, self.world)
        self.exporter = Exporter(run, recipe, config, engine.module.model, engine.mpu, self.rank)
        self.saving: Saving | None = None
        self.newest_step = -1

    def resume(self, now: State, changed_recipe: bool, total: Callable[[float], float]) -> State | None:
        """Go on from the newest whole checkpoint: fills model and optimizer and returns its state, or None.

        total: the sum over ranks of a number. Raises InputError when it is one of another run.
        """
        if self.rank == 0:
            self.checkpoints.clear_partial()
        total(0)                                                        # nobody writes before the old parts are gone
        return self.load(total, lambda state: check_same_run(state, now, self.run, changed_recipe))

    def load(self, total: Callable[[float], float], check: Callable[[State], None] | None = None) -> State | None:
        """Fill model and optimizer from the newest whole checkpoint, where there is one, if `check` lets it."""
        found = self.checkpoints.newest(total)
        if found is None:
            return None
        folder, state = found
        if check is not None:
            check(state)
        restore(Reader(folder), fragments(self.engine, self.optimizer, self.recipe.zero, needed=True))
        set_optimizer_steps(self.optimizer, state.optimizer_steps)
        refresh(self.engine, self.recipe.zero)
        self.newest_step = state.step
        return state

    def begin(self, state: State, data: Dataset) -> None:
        """Copy the state aside and write it while training goes on."""
        export = self.exporter.begin(self.checkpoints.partial(state.step) / WEIGHTS, data)
        parts = fragments(self.engine, self.optimizer, self.recipe.zero)
        self.saving = self.checkpoints.begin(state, parts, export)

    def report(self) -> tuple[float, float]:
        """Whether this rank's part is (written, failed), as numbers to be summed over ranks and given to `settle`."""
        return (0.0, 0.0) if self.saving is None else (float(self.saving.written), float(self.saving.failed))

    def settle(self, written: float, failed: float) -> None:
        """Make the checkpoint the newest when all have written it, drop it when one could not."""
        if self.saving is None or (written < self.world and not failed):
            return
        saving, self.saving = self.saving, None
        if failed:
            return self._give_up(saving)
        if self.rank == 0:
            try:
                self.checkpoints.commit(saving)
            except OSError as error:                                    # the disk became full since the parts are there
                saving.error = error
                return self._give_up(saving)
            self.checkpoints.prune(self.recipe.checkpoint.keep)
        self.newest_step = saving.state.step

    def wait(self) -> None:
        """Until this rank has written, or could not."""
        if self.saving is not None:
            self.saving.thread.join()

    def _give_up(self, saving: Saving) -> None:
        saving.thread.join()
        if saving.error is not None:
            print(
                f"omni: the checkpoint of step {saving.state.step} could not be written ({saving.error});"
                f" make room or mend {self.run}; the run goes on with the one before",
                file=sys.stderr,
                flush=True,
            )
        if self.rank == 0:
            self.checkpoints.discard(saving)


def unwritable(run: Path, step: int) -> InputError:
    """The end of a run whose last checkpoint could not be written."""
    return InputError(f"{run}: the checkpoint of step {step} could not be written; make room and run the same command")
