"""What the recipe's `reading` tasks say, letter by letter, for the loss of `omni.model.reading`."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omni.errors import InputError
from omni.model.reading import Reading
from omni.model.transformer import Batch
from omni.tokenizers.letters import letters_in, plain
from omni.tokenizers.text import TextTokenizer
from omni.train.data.loader import Dataset
from omni.train.recipe import ReadingRecipe, Recipe
from omni.train.start.given import tokenizers_of
from omni.vocab import Span


class Reader:
    """Finds the speech and the letters in rows of the tasks whose only text is what is said."""

    def __init__(self, plan: ReadingRecipe, layer: int, data: Dataset, tokenizer: TextTokenizer) -> None:
        self.weight, self.layer, self.tokenizer = plan.weight, layer, tokenizer
        self.text, self.audio = data.vocab["text"], data.vocab["audio"]
        self.opens, self.closes = data.vocab.control("<text>"), data.vocab.control("</text>")
        self.tasks = np.array([task in plan.tasks for task in data.tasks])
        known = letters_in(tokenizer.pieces())
        self.numbers = {letter: number for number, letter in enumerate(sorted(known), start=1)}
        self.ids = torch.tensor([0, *(self.text.start + known[letter] for letter in self.numbers)])

    @classmethod
    def of(cls, recipe: Recipe, data: Dataset, n_layers: int) -> "Reader | None":
        """As the recipe has it; None where nothing is read.

        Raises InputError for unknown tasks, a layer that the model lacks, or no tokenizers.
        """
        plan = recipe.reading
        if not plan.weight:
            return None
        if unknown := sorted(set(plan.tasks) - set(data.tasks)):
            raise InputError(f"reading.tasks: no task {unknown[0]!r}; there are {', '.join(data.tasks)}")
        layer = max(1, round(n_layers * 2 / 3)) if plan.layer is None else plan.layer
        if not 1 <= layer <= n_layers:
            raise InputError(f"reading.layer: the model has layers 1 to {n_layers}, not {layer}")
        folder = tokenizers_of(recipe)
        if folder is None:
            raise InputError("reading: letters are pieces of the text tokenizer; name the tokenizers of the data")
        return cls(plan, layer, data, TextTokenizer.load(Path(folder) / "text"))

    def read(self, batch: Batch, tasks: np.ndarray) -> Batch:
        """The batch with what its rows say; tasks: [rows] the task of each."""
        rows = np.flatnonzero(self.tasks[tasks])
        found = list(self._documents(batch, rows))
        if not found:
            return batch
        places, letters = [place for place, _ in found], [said for _, said in found]
        reading = Reading(
            self.weight,
            self.layer,
            self.ids,
            torch.nn.utils.rnn.pad_sequence(places, batch_first=True),
            torch.tensor([len(place) for place in places]),
            torch.tensor([number for said in letters for number in said]),
            torch.tensor([len(said) for said in letters]),
        )
        return replace(batch, reading=reading)

    def _documents(self, batch: Batch, rows: np.ndarray) -> Iterator[tuple[Tensor, list[int]]]:
        """Flat indices of the steps of speech and the letters, of each document that has room for its letters."""
        steps = batch.ids.shape[1]
        for row in rows:
            ids, document = batch.ids[row], batch.document[row]
            first, speech = ids[:, 0], _within(ids, self.audio).any(dim=1)  # a frame's later codes may come later
            written = ((first == self.opens).cumsum(0) > (first == self.closes).cumsum(0)) & _within(first, self.text)
            for number in range(1, int(document.max()) + 1):
                mine = document == number
                text = first[mine & written] - self.text.start
                said = self._spell(self.tokenizer.decode(text.tolist()))
                place = (mine & speech).nonzero().squeeze(1)
                if said and len(place) >= _fewest_steps(said):
                    yield row * steps + place, said

    def _spell(self, text: str) -> list[int]:
        return [self.numbers[letter] for letter in plain(text) if letter in self.numbers]


def _within(ids: Tensor, span: Span) -> Tensor:
    return (ids >= span.start) & (ids < span.stop)


def _fewest_steps(said: list[int]) -> int:
    """A step a letter, and a blank between equal ones."""
    return len(said) + sum(one == other for one, other in pairwise(said))
