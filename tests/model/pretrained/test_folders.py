"""Import and export against the classes of transformers themselves, from the files that they write and read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from omni.cli import main
from omni.decode.step import fast_step, settle
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.model.folder import load_model, save_model
from omni.model.pretrained.folders import Source, export_model, extended, import_model
from omni.model.transformer import Batch, OmniTransformer
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.vocab import LAYOUTS, Vocabulary

Checkpoint = Callable[..., Any]                                         # a fixture, see conftest.py
KNOWN = ["Llama", "Mistral", "Qwen2", "Qwen3"]
ROWS = 420                                                              # of the checkpoints' tables


def imported(tmp_path: Path, *flags: str) -> tuple[OmniTransformer, Vocabulary]:
    assert main(["import", str(tmp_path / "checkpoint"), "--out", str(tmp_path / "model"), *flags]) == 0
    return load_model(tmp_path / "model")


def logits(model: OmniTransformer, ids: torch.Tensor) -> torch.Tensor:
    """[batch, steps] to [batch, steps, vocab]."""
    document = torch.ones_like(ids)
    return model.logits(model.hidden(Batch(ids[..., None], document > 0, document, document < 0)))


@torch.no_grad()
@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("tied", [False, True])
def test_logits_over_the_text_span_are_those_of_the_checkpoint(
    kind: str, tied: bool, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    theirs = checkpoint(kind, tie_word_embeddings=tied)
    model, vocab = imported(tmp_path, "--languages", "fr", "en")
    assert vocab.languages == ("en", "fr") and vocab["text"].size == ROWS and model.config.tie_embeddings == tied
    ids = torch.randint(ROWS, (2, 60))
    ours = logits(model, vocab["text"].ids(ids))[..., vocab["text"].start : vocab["text"].stop]
    torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_shards_of_bf16_are_read_exactly(checkpoint: Checkpoint, tmp_path: Path) -> None:
    theirs = checkpoint("Qwen3", dtype=torch.bfloat16, shard="20KB")
    assert len(list((tmp_path / "checkpoint").glob("*.safetensors"))) > 1
    model, vocab = imported(tmp_path)
    ids = torch.randint(ROWS, (1, 30))
    ours = logits(model, vocab["text"].ids(ids))[..., vocab["text"].start : vocab["text"].stop]
    torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", KNOWN)
def test_export_is_what_auto_model_loads(kind: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint(kind)
    model, vocab = imported(tmp_path)
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "out")]) == 0
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert type(theirs).__name__ == ("LlamaForCausalLM" if kind == "Mistral" else f"{kind}ForCausalLM")
    ids = torch.randint(len(vocab), (2, 60))
    torch.testing.assert_close(logits(model, ids), theirs.eval()(ids).logits, rtol=1e-4, atol=1e-4)
    assert Vocabulary.load(tmp_path / "out" / "vocab.json") == vocab
    assert theirs.config.eos_token_id == vocab.control("<eos>")


@torch.no_grad()
@pytest.mark.parametrize("kind", KNOWN)
def test_greedy_generation_on_the_kernel_says_the_same(kind: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    theirs = checkpoint(kind)
    model, vocab = imported(tmp_path)
    settle(model)
    step, text = fast_step(model), vocab["text"]
    assert step != model.extend                                         # it is the kernel that is tried
    asked = torch.randint(ROWS, (1, 7))
    stream = Stream(model, step=step)
    stream.feed(text.ids(asked)[..., None])
    said = []
    for _ in range(40):
        said.append(int(model.logits(stream.state())[0, text.start : text.stop].argmax()))
        stream.feed(np.array([[[said[-1] + text.start]]]))
    settings: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    theirs.generation_config.update(**settings)
    expected = theirs.generate(asked, max_new_tokens=40, do_sample=False, attention_mask=torch.ones_like(asked))
    assert said == expected[0, 7:].tolist()


def test_new_rows_are_about_the_mean_and_old_ones_stay() -> None:
    vocab = Vocabulary(text=50, codebooks=2, codebook_size=40, image=30, picture_tokens=4)
    table = torch.randn(50, 16, generator=torch.Generator().manual_seed(1)) + 1
    whole = extended(table, vocab)
    text = vocab["text"]
    assert torch.equal(whole[text.start : text.stop], table)
    new = torch.cat((whole[: text.start], whole[text.stop :]))
    assert len(new) == len(vocab) - 50 and len(new.unique(dim=0)) == len(new)
    assert float((new.mean(dim=0) - table.mean(dim=0)).abs().max()) < 0.05
    torch.testing.assert_close(new.std(dim=0), 0.1 * table.std(dim=0), rtol=0.3, atol=0.0)


def test_pictures_get_their_tokenizer_and_its_ids(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint("Qwen2")
    image = ImageTokenizer(ImageConfig(16, 8, (4, 4), width=16, fine_width=8, encoder_layers=1, decoder_layers=1))
    image.eval().save(tmp_path / "image")
    _, vocab = imported(tmp_path, "--image", str(tmp_path / "image"))
    assert (vocab.image, vocab.picture_tokens, vocab["audio"].size) == (16, 4, 1)
    tokenizers = Tokenizers.load(tmp_path / "model" / "tokenizers")
    assert tokenizers.fingerprint == vocab.tokenizers and tokenizers.text is not None and tokenizers.audio is None
    assert len(tokenizers.text) == vocab["text"].size


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_one_channel_is_exported(layout: str, tmp_path: Path) -> None:
    from omni.model.config import ModelConfig

    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=32, max_steps=32).for_vocabulary(vocab)
    save_model(tmp_path / "model", OmniTransformer(config).state_dict(), config, vocab)
    if layout == "flat":
        assert export_model(tmp_path / "model", tmp_path / "out") == "Qwen3ForCausalLM"
        return
    with pytest.raises(InputError, match="3 channels"):
        export_model(tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


WRONG = {
    "mistral window": ("Mistral", {"sliding_window": 32}, r"sliding_window: 32 .*use --max-steps 32"),
    "yarn": ("Qwen3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "rope_type: yarn"),
    "gemma": ("Llama", {"model_type": "gemma"}, "'gemma' cannot be imported; use one of llama, mistral, qwen2, qwen3"),
    "biases": ("Llama", {"attention_bias": True}, "attention_bias"),
    "activation": ("Llama", {"hidden_act": "gelu"}, "hidden_act: gelu"),
    "quantized": ("Llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
    "shape": ("Llama", {"intermediate_size": 64}, "mlp.down_proj.weight: has shape .32, 48. .* says .32, 64."),
    "layers": ("Llama", {"num_hidden_layers": 3}, "model.layers.2.*: missing"),
    "less layers": ("Llama", {"num_hidden_layers": 1}, "model.layers.1.*: our model has no such tensor"),
    "no number": ("Llama", {"hidden_size": "wide"}, "no llama config"),
    "heads": ("Llama", {"num_key_value_heads": 3}, "n_kv_heads: 3 does not divide"),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_what_would_compute_something_else_is_refused_by_name(
    what: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    kind, changes, line = WRONG[what]
    checkpoint(kind)
    edit(tmp_path / "checkpoint" / "config.json", **changes)
    with pytest.raises(InputError, match=line) as caught:
        import_model(Source(tmp_path / "checkpoint"), tmp_path / "model")
    assert "\n" not in str(caught.value) and not (tmp_path / "model").exists()


def test_a_short_stream_makes_a_window_harmless(checkpoint: Checkpoint, tmp_path: Path) -> None:
    theirs = checkpoint("Mistral", sliding_window=32)
    model, vocab = imported(tmp_path, "--max-steps", "32")
    ids = torch.randint(ROWS, (1, 32))
    with torch.no_grad():
        ours = logits(model, vocab["text"].ids(ids))[..., vocab["text"].start : vocab["text"].stop]
        torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"--max-steps 65: must lie in 1\.\.64"):
        import_model(Source(tmp_path / "checkpoint", max_steps=65), tmp_path / "other")


@pytest.mark.parametrize("how", ["pickled", "truncated", "a shard", "index", "nothing", "tokenizer", "taken"])
def test_files_that_cannot_be_used_are_one_line(
    how: str, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint("Llama", shard="20KB" if how in ("a shard", "index") else "1GB")
    folder, out = tmp_path / "checkpoint", tmp_path / "model"
    weights = folder / "model.safetensors"
    if how == "pickled":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-40])
    elif how == "a shard":
        sorted(folder.glob("*.safetensors"))[1].unlink()
    elif how == "index":
        edit(folder / "model.safetensors.index.json", weight_map={"lm_head.weight": "../other.safetensors"})
    elif how == "nothing":
        shutil.rmtree(folder)
    elif how == "tokenizer":
        (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    else:
        out = folder
    expected = {
        "pickled": "a pickle is a program", "truncated": "damaged or truncated", "a shard": "missing; copy the whole",
        "index": "no list of the files", "nothing": "no such folder", "tokenizer": "tokenizer.json: missing",
        "taken": "is there already",
    }  # fmt: skip
    assert main(["import", str(folder), "--out", str(out)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("omni: ") and expected[how] in error
