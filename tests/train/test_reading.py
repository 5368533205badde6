"""Which letters a run makes its speech spell, and that it learns to."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from omni.errors import InputError
from omni.sequence import Segment, Sequence
from omni.tokenizers.text import TextTokenizer
from omni.train.data.loader import Dataset, Loader, Share
from omni.train.data.shards import ShardWriter
from omni.train.engine import Trainer
from omni.train.launch import launch
from omni.train.monitor.log import read_log
from omni.train.reading import Reader
from omni.train.recipe import Recipe
from omni.vocab import Vocabulary

WORDS = ("Number 7!", "bell", "an owl, and a bell")
MARKS = {ord("!") % 30, ord(",") % 30}                                  # heard, but no letters
RECIPE = """\
data: [{root}/shards]
tokenizers: {root}/tokenizers
sequence_length: 96
model: {{preset: mini, d_model: 32, n_layers: 2, n_heads: 2, n_kv_heads: 2, d_ff: 48}}
optimizer: {{lr: 5.0e-3}}
schedule: {{steps: 60, warmup: 5}}
batch: {{rows: 4, micro: 2}}
mixture: {{weights: {{other: 0.5}}}}
reading: {{weight: 1.0, tasks: [transcribe]}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings whose codes spell their words: two frames a letter, or too few of them."""
    root = tmp_path_factory.mktemp("reading")
    text = TextTokenizer.train(WORDS, 280)
    text.save(root / "tokenizers" / "text")
    vocab = Vocabulary(text=len(text), codebooks=1, codebook_size=30, image=10, picture_tokens=4)
    rng = np.random.default_rng(0)
    for task in ("transcribe", "other"):
        with ShardWriter(root / "shards" / task, vocab, task) as shard:
            for number in range(40):
                words = WORDS[number % 3]
                codes = np.array([ord(letter) % 30 for letter in words.lower()]).repeat(2)
                codes = codes if number % 5 else rng.integers(0, 30, 2)  # no room for the letters
                heard = Segment("audio", codes[:, None], "user")
                said = Segment("text", np.array(text.encode(words)), "assistant")
                shard.add(Sequence.of([heard, said], vocab), str(number))
    (root / "recipe.yaml").write_text(RECIPE.format(root=root))
    return root


def test_the_letters_of_each_recording_are_those_of_its_text(root: Path) -> None:
    recipe = Recipe.load(root / "recipe.yaml")
    data = Dataset.load(recipe.data, recipe.sequence_length)
    reader = Reader.of(recipe, data, n_layers=6)
    assert reader is not None
    batch = Loader(data, data.order(1.0, {}, 0), Share(64, 64)).batch(0)
    micro, tasks = batch.micro[0], batch.tasks[0]
    found = reader.read(micro, tasks).reading
    assert found is not None and found.layer == 4
    letters = dict(zip(reader.numbers.values(), reader.numbers, strict=True))
    said = ["".join(letters[int(one)] for one in part) for part in found.letters.split(found.lengths.tolist())]
    assert set(said) == {"number 7", "bell", "an owl and a bell"}
    steps, audio = micro.ids.shape[1], data.vocab["audio"]
    for words, place, count in zip(said, found.place, found.steps.tolist(), strict=True):
        codes = micro.ids.flatten(0, 1)[place[:count], 0] - audio.start
        assert [code for code in codes.tolist()[::2] if code not in MARKS] == [ord(letter) % 30 for letter in words]
        assert {data.tasks[tasks[row]] for row in (place[:count] // steps).tolist()} == {"transcribe"}
    heard = np.flatnonzero(tasks == data.tasks.index("transcribe"))
    assert len(said) < int(micro.document[heard].amax(dim=1).sum())     # some have no room for their letters
    assert reader.read(micro, np.full(64, data.tasks.index("other"))).reading is None


def test_a_run_learns_to_spell(root: Path, tmp_path: Path) -> None:
    launch(Recipe.load(root / "recipe.yaml"), tmp_path / "run", say=False)
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    nats = [record["modalities"]["letters"] for record in records]
    assert nats[-1] < 0.25 * nats[0]


def test_the_curvature_is_that_of_the_whole_loss(root: Path, tmp_path: Path) -> None:
    """Of the steepest direction, by differences of the gradient that trains."""
    keys = {"monitor.curvature": "2", "monitor.rows": "4", "schedule.steps": "2", "optimizer.lr": "1e-3"}
    trainer = Trainer(Recipe.load(root / "recipe.yaml", keys), tmp_path / "run", device="cpu")
    trainer.train()
    (record,) = (one for one in read_log(tmp_path / "run") if one["kind"] == "curvature")
    assert trainer.probe is not None
    trainer.cursor = 0
    batch, model = trainer.loader().batch(0), trainer.engine.module.model.double()
    assert any(micro.reading for micro in batch.micro)
    parameters, vector = list(model.parameters()), trainer.probe.last["plain"].double()
    begin = torch.nn.utils.parameters_to_vector(parameters).detach()

    def gradient(distance: float) -> torch.Tensor:
        torch.nn.utils.vector_to_parameters(begin + distance * vector, parameters)
        loss = sum(model(micro).total for micro in batch.micro) / batch.trained
        return torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss, parameters))

    bend = float(vector @ (gradient(1e-4) - gradient(-1e-4))) / 2e-4
    trainer.close()
    assert record["sharpness"] == pytest.approx(bend, rel=0.01)


def test_what_cannot_be_read_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reading.tasks: no task 'transcribed'; there are other, transcribe"):
        launch(Recipe.load(root / "recipe.yaml", {"reading.tasks": "[transcribed]"}), tmp_path / "run")
    with pytest.raises(InputError, match=r"reading.layer: the model has layers 1 to 2, not 3"):
        launch(Recipe.load(root / "recipe.yaml", {"reading.layer": "3", "model.n_layers": "2"}), tmp_path / "run")
    with pytest.raises(InputError, match="name the tokenizers"):
        launch(Recipe.load(root / "recipe.yaml", {"tokenizers": "null"}), tmp_path / "run")
    with pytest.raises(InputError, match=r"reading\.weight"):
        Recipe.load(root / "recipe.yaml", {"multitask.method": "mgda"})
    assert not (tmp_path / "run" / "log.jsonl").exists()
