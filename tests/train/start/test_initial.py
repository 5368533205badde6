"""A run that begins with a model that exists."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omni.errors import InputError
from omni.model.config import ModelConfig, RopeScaling
from omni.model.folder import LANGUAGES, learnt_languages, load_model, save_model
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, Sequence
from omni.tokenizers.text import TextTokenizer
from omni.train.data.loader import Dataset, Loader, Share
from omni.train.data.shards import ShardWriter
from omni.train.engine import Trainer
from omni.train.launch import launch
from omni.train.monitor.log import read_log
from omni.train.recipe import Recipe
from omni.train.rehearsal import rehearsed
from omni.train.start.initial import shape_of
from omni.vocab import Vocabulary

SHAPE = ModelConfig(
    d_model=24, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=40, max_steps=64, head_size=16, qk_norm=False, qkv_bias=True,
    rope_scaling=RopeScaling(4.0, 1.0, 4.0, 16), tie_embeddings=False,
)  # fmt: skip
Start = Callable[..., Path]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Saves a model of a shape that no preset has, far from the usual initial weights."""

    def save(vocab: Vocabulary) -> Path:
        torch.manual_seed(5)
        model = OmniTransformer(SHAPE.for_vocabulary(vocab))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=0.1, std=0.2)
        save_model(tmp_path / "start", model.state_dict(), model.config, vocab)
        return tmp_path / "start"

    return save


def recipe_of(recipe_file: Path, **changes: str) -> Recipe:
    plain = Recipe.load(recipe_file, {"schedule.steps": "2", "valid": "[]", **changes})
    return replace(plain, model=type(plain.model)())


@pytest.mark.parametrize("bits", [None, 1])
def test_a_run_begins_at_the_models_loss_and_keeps_its_shape(
    bits: int | None, recipe_file: Path, vocab: Vocabulary, start: Start, tmp_path: Path
) -> None:
    """Late binarization, too: the loss is then that of the same weights at one bit."""
    folder, tokenizers = start(vocab), tmp_path / "tokenizers"
    TextTokenizer.train([], 256).save(tokenizers / "text")              # would begin alike, which init must not
    recipe = recipe_of(recipe_file, init=str(folder), tokenizers=str(tokenizers))
    recipe = replace(recipe, model=replace(recipe.model, weight_bits=bits))
    trainer = Trainer(recipe, tmp_path / "run", device="cpu")
    try:
        assert trainer.train() is None
    finally:
        trainer.close()
    stored, _ = load_model(folder)
    model = OmniTransformer(replace(stored.config, weight_bits=bits or 32))
    model.load_state_dict(stored.state_dict())
    data = Dataset.load(recipe.data, recipe.sequence_length)
    batch = Loader(data, data.order(1.0, {}, 0), Share(8, 8)).batch(0)
    with torch.no_grad():
        expected = float(model(batch.micro[0]).each.mean())
    assert read_log(tmp_path / "run")[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert learnt_languages(tmp_path / "run" / "model") is None         # for nobody knows which the first model learnt
    trained, _ = load_model(tmp_path / "run" / "model")
    assert trained.config == model.config
    assert not torch.equal(trained.embedding.weight, model.embedding.weight)


def test_a_model_tells_the_languages_that_it_and_the_one_before_learnt(
    vocab: Vocabulary, recipe_file: Path, start: Start, tmp_path: Path
) -> None:
    vocab = replace(vocab, languages=("de", "en", "fr"))
    with ShardWriter(tmp_path / "shards" / "talk", vocab, "talk") as shard:
        ids = np.arange(5)
        shard.add(Sequence.of([Segment("text", ids), Segment("text", ids, "assistant", "fr")], vocab), "an item")
    folder = start(vocab)
    (folder / LANGUAGES).write_text('["de"]')
    recipe = replace(recipe_of(recipe_file, init=str(folder)), data=[str(tmp_path / "shards")])
    assert Dataset.load(recipe.data, 64).languages == ["fr"]
    trainer = Trainer(recipe, tmp_path / "run", device="cpu")
    try:
        trainer.train()
    finally:
        trainer.close()
    assert learnt_languages(tmp_path / "run" / "model") == ["de", "fr"]
    (folder / LANGUAGES).write_text('"de"')
    with pytest.raises(InputError, match="not a list of languages; delete it"):
        learnt_languages(folder)


def test_another_vocabulary_is_refused_before_anything_starts(
    recipe_file: Path, vocab: Vocabulary, start: Start, tmp_path: Path
) -> None:
    folder = start(replace(vocab, languages=("fr",)))
    with pytest.raises(InputError, match=r"init: .*start was made with another vocabulary than the data: languages"):
        launch(recipe_of(recipe_file, init=str(folder)), tmp_path / "run")
    with pytest.raises(InputError, match="no such model folder"):
        launch(recipe_of(recipe_file, init=str(tmp_path / "nowhere")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_one_bit_start_is_not_shared_as_if_it_were_floats(recipe_file: Path, vocab: Vocabulary, start: Start) -> None:
    folder = start(vocab)
    model, _ = load_model(folder)
    save_model(folder, model.state_dict(), replace(model.config, weight_bits=1), vocab)
    recipe = recipe_of(recipe_file, init=str(folder))
    assert shape_of(recipe, vocab).weight_bits == 1 and not shape_of(recipe, vocab).inner_norms
    new = replace(recipe, init=None, model=type(recipe.model)(weight_bits=1))
    assert shape_of(new, vocab).inner_norms                             # one that begins at one bit has them
    with pytest.raises(InputError, match="cannot share blocks of one-bit"):
        shape_of(replace(recipe, parallel=replace(recipe.parallel, tensor=2)), vocab)


def test_only_what_no_tensor_depends_on_may_change(recipe_file: Path, vocab: Vocabulary, start: Start) -> None:
    recipe = recipe_of(recipe_file, init=str(start(vocab)))
    changed = replace(recipe, model=replace(recipe.model, d_model=24, max_steps=128, z_loss=0.0))
    expected = replace(SHAPE, max_steps=128, z_loss=0.0).for_vocabulary(vocab)
    assert shape_of(changed, vocab) == expected
    with pytest.raises(InputError, match=r"model\.n_layers: the model of init has 1, not 2; leave the key out"):
        shape_of(replace(recipe, model=replace(recipe.model, n_layers=2)), vocab)


def test_steps_that_prompts_show_are_not_to_be_predicted(
    recipe_file: Path, vocab: Vocabulary, start: Start, tmp_path: Path
) -> None:
    """Whether the recipe asks for the prefix or the model of init has it; either of the two alone is fine."""
    given = {"model.prefix": "true", "schedule.steps": "1", "valid": "[]"}
    said = r"train_on: everything would predict what model\.prefix shows; use train_on: answers, or"
    with pytest.raises(InputError, match=rf"^recipe\.yaml: {said}"):
        Recipe.load(recipe_file, {**given, "train_on": "everything"})
    assert "parameters" in rehearsed(Recipe.load(recipe_file, given))
    folder = start(vocab)
    model, _ = load_model(folder)
    save_model(folder, model.state_dict(), replace(model.config, prefix=True), vocab)
    recipe = recipe_of(recipe_file, init=str(folder), train_on="everything")
    for begin in (rehearsed, lambda recipe: launch(recipe, tmp_path / "run")):
        with pytest.raises(InputError, match=f"^{said}"):
            begin(recipe)
    assert not (tmp_path / "run").exists()
    causal = replace(recipe, model=replace(recipe.model, prefix=False))
    assert not shape_of(causal, vocab).prefix
    assert shape_of(replace(recipe, train_on="answers"), vocab).prefix
