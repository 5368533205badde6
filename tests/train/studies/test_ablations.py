"""The ablations of omni-tiny: documents in every arrangement, counted compute, nats of documents, verdicts, a cell."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, Sequence
from omni.shipped import shipped_model
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.loader import Dataset
from omni.train.data.pack import batch_of
from omni.train.data.shards import Shard, ShardWriter
from omni.train.studies.harness.conduct import conduct
from omni.train.studies.harness.study import Result
from omni.train.studies.tiny import ablations, variants
from omni.train.studies.tiny.arrange import ARRANGEMENTS, ROW, interleaved
from omni.train.studies.tiny.compute import costs
from omni.train.studies.tiny.held_out import nats_of_documents
from omni.train.studies.tiny.shared import ABOUT, prepare
from omni.train.studies.tiny.verdicts import Runs
from omni.vocab import Vocabulary

TASKS = ("transcribe", "translate", "caption", "say", "tell", "draw")
SHAPE = {"d_model": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_ff": 48}


@given(st.integers(1, 40), st.integers(1, 120))
def test_interleaving_keeps_text_and_speech_and_alternates(tokens: int, frames: int) -> None:
    text = Segment("text", np.arange(tokens), "assistant", "en")
    speech = Segment("audio", np.arange(2 * frames).reshape(frames, 2), "assistant", "en", "clara")
    turns = interleaved(text, speech)
    assert [one.modality for one in turns] == ["text", "audio"] * (len(turns) // 2)
    assert all(len(one.codes) for one in turns)
    assert np.array_equal(np.concatenate([one.codes for one in turns[::2]]), text.codes)
    assert np.array_equal(np.concatenate([one.codes for one in turns[1::2]]), speech.codes)
    assert all(len(one.codes) == 3 for one in turns[:-2:2]) and all(len(one.codes) == 10 for one in turns[1:-2:2])


@pytest.fixture(scope="session")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of `omni data tokenize` with omni-tiny's tokenizers: random codes, real text."""
    folder = tmp_path_factory.mktemp("tokenized")
    vocab = Vocabulary.of(Tokenizers.load(shipped_model() / "tokenizers"), ("en", "fr", "el"), "delay", ("clara",))
    draw = np.random.default_rng(0)
    for split, count in (("train", 24), ("valid", 8)):
        for task in TASKS:
            with ShardWriter(folder / split / task, vocab, task) as shard:
                for number in range(count):
                    shard.add(Sequence.of(conversation(vocab, task, number, draw), vocab), f"{split}/{number // 2}")
    write_json(folder / "choice.json", {})
    return folder


def conversation(vocab: Vocabulary, task: str, number: int, draw: np.random.Generator) -> list[Segment]:
    """Every fourth one answers in Greek, which the study leaves out; every eighth one is too long for `flat`."""
    language = "el" if number % 4 == 3 else "en"
    frames = 200 if number % 8 == 0 else 14
    text = Segment("text", draw.integers(0, 256, 5), "assistant", language)
    sounds = draw.integers(0, vocab.codebook_size, (2, frames, vocab.codebooks))
    speech = Segment("audio", sounds[0], "assistant", language, "clara")
    shown = [draw.integers(0, span.size) + span.start for span in map(vocab.picture_span, range(vocab.picture_tokens))]
    picture = Segment("image", vocab["image"].codes(np.array(shown)), "assistant", language)
    asked = Segment("text", draw.integers(0, 256, 4))
    heard = Segment("audio", sounds[1])
    answers = {"say": [speech], "tell": [text, speech], "draw": [picture]}
    return [heard if task == "transcribe" else asked, *answers.get(task, [text])]


@pytest.fixture(scope="session")
def shared(tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "shared"
    prepare(tokenized, folder, quick=True)
    return folder


def test_every_arrangement_holds_the_same_documents(shared: Path, tokenized: Path) -> None:
    for split in ("train", "valid"):
        for task in TASKS:
            found = {name: Shard.load(shared / name / split / task) for name in ARRANGEMENTS}
            said = {name: [s.sequence(n).segments(s.vocab) for n in range(len(s))] for name, s in found.items()}
            assert len({tuple(shard.items[row["item"]] for row in shard.index) for shard in found.values()}) == 1
            assert said["delay"] == said["flat"] == said["depth"]
            assert {one.language for segments in said["flat"] for one in segments} <= {"en", None}
            assert max(int(shard.index["length"].max()) for shard in found.values()) <= ROW
            if task == "tell":
                assert all([one.modality for one in segments] == ["text", "audio"] for segments in said["alone"])
                assert said["alone"] != said["delay"] != said["interleaved"]
            else:
                assert said["alone"] == said["delay"] == said["interleaved"]
    held_out = read_json(shared / ABOUT)["held_out"]
    assert {amount for _, amount in held_out["say"]} == {14 / 25} and {n for _, n in held_out["draw"]} == {1}
    text = Tokenizers.load(shipped_model() / "tokenizers").text
    shard = Shard.load(shared / "delay/valid/caption")
    letters = [len(text.decode(shard.sequence(n).segments(shard.vocab)[-1].codes.tolist())) for n in range(len(shard))]
    assert text is not None and [amount for _, amount in held_out["caption"]] == letters


def test_shards_of_other_tokenizers_are_refused(shards: Path, tmp_path: Path) -> None:
    write_json(shards / "choice.json", {})
    with pytest.raises(InputError, match="not of omni-tiny's tokenizers"):
        prepare(shards, tmp_path, quick=True)


def model_of(data: Dataset) -> OmniTransformer:
    torch.manual_seed(0)
    return OmniTransformer(ModelConfig(**SHAPE).for_vocabulary(data.vocab)).eval().requires_grad_(False)


@pytest.mark.parametrize("layout", ["delay", "flat", "depth"])
def test_compute_is_what_torch_counts(shared: Path, layout: str) -> None:
    """It knows all products but attention's, on this device, for which pairs of steps are counted one by one."""
    data = Dataset.load([shared / layout / "valid"], ROW)
    model, found = model_of(data), costs(data, model_of(data).config)
    for task, rows in data.rows.items():
        part, _ = data.find(data.tasks.index(task), 0)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            for row in range(rows):
                model(batch_of([(part, row)]))
        pairs = sum(seen + 1 for length in part.shard.index["length"].tolist() for seen in range(length))
        forward = counter.get_total_flops() / 2 + 2 * SHAPE["n_layers"] * SHAPE["d_model"] * pairs
        assert found[task].multiply_adds * rows == pytest.approx(3 * forward, rel=0.01)
        assert found[task].steps * rows == part.shard.index["length"].sum()


def test_nats_of_documents_are_those_of_each_alone(shared: Path) -> None:
    data = Dataset.load([shared / "delay" / "valid"], ROW)
    model, found = model_of(data), nats_of_documents(model_of(data), data)
    for part in data.parts:
        shard = part.shard
        for number in range(len(shard)):
            stream = shard.sequence(number)
            batch = batch_of([(part, 0)])
            batch.ids, batch.loss = torch.from_numpy(stream.ids)[None], torch.from_numpy(stream.loss)[None]
            batch.document = torch.ones(1, len(stream), dtype=torch.long)
            with torch.no_grad():
                alone = float(model(batch).each.double().sum())
            assert found[shard.task][number] == pytest.approx(alone, rel=1e-4)


def planted(variant: str, seed: int, factor: float) -> Result:
    draw = np.random.default_rng(1)
    amounts = {task: draw.uniform(1, 5, 40).tolist() for task in variants.BASE.judged}
    noise = 1 + 0.002 * seed
    nats = {task: (factor * noise * np.array(held)).tolist() for task, held in amounts.items()}
    items = {task: [f"item {n // 2}" for n in range(40)] for task in amounts}
    values: dict[str, Any] = {"nats": nats, "amounts": amounts, "items": items, "parameters": 5e6}
    return Result({"variant": variant}, seed, {**values, "steps": 1e5, "documents": 1e3, "refused": 0}, 1.0)


def test_verdicts_follow_planted_losses() -> None:
    factors = {"layout: flat": 1.1, "size: 10M": 0.9, "order: by size": 1.001, "text weight: 1": math.nan}
    results = [planted("base", seed, 1.0) for seed in range(3)]
    results += [planted(name, 0, factor) for name, factor in factors.items()]
    claims = {claim.claim.split(" is better")[0]: claim for claim in ablations.judge(results)}
    verdicts = {name: claim.verdict for name, claim in claims.items()}
    assert verdicts == {
        "layout: flat": "not shown", "size: 10M": "shown", "order: by size": "inconclusive",
        "text weight: 1": "inconclusive",
    }  # fmt: skip
    assert claims["layout: flat"].value == pytest.approx(100 * (1.1 / 1.002 - 1), abs=0.01)
    # every loss is one of the seeds' alone here: Student's interval with 2 degrees of freedom of ln 1, 1.002, 1.004
    half = 4.302653 * np.log([1, 1.002, 1.004]).std(ddof=1) * math.sqrt(4 / 3)
    low = 100 * math.expm1(math.log(1.1) - np.log([1, 1.002, 1.004]).mean() - half)
    assert claims["layout: flat"].low == pytest.approx(low, abs=0.01)
    once = Runs.of_results([results[0], *results[3:]])
    assert math.isnan(once.change("layout: flat", ("say",)).low)        # without a second seed nothing is known
    table = ablations.tables(results)["Change against the base, %, with 95 % intervals"]
    assert [row[-2] for row in table[1:]] == [
        {"shown": "better", "not shown": "worse"}.get(verdicts[row[0]], "undecided") for row in table[1:]
    ]


def test_cells_are_distinct_and_axes_are_repeated() -> None:
    full = ablations.cells(False)
    assert len({cell.key for cell in full}) == len(full) > len(ablations.cells(True))
    more = ablations.repeats(False, ["layout", "size"], 3)
    assert {(cell.params["variant"], cell.seed) for cell in more} == {
        (name, seed) for name in ("layout: flat", "layout: depth", "size: 10M", "size: 20M") for seed in (1, 2)
    }
    assert not {cell.key for cell in more} & {cell.key for cell in full}
    with pytest.raises(InputError, match="--axes colour: the study has layout, answers"):
        ablations.repeats(False, ["colour"], 3)


def test_a_study_of_two_cells(tokenized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way through omni's engine, with equal compute, to the tables; run again, nothing is trained."""
    monkeypatch.setattr(ablations, "QUICK", ("order: rich first",))
    monkeypatch.setattr(ablations, "QUICK_SEEDS", 1)
    monkeypatch.setattr(ablations, "QUICK_BUDGET", 1.2e10)
    monkeypatch.setitem(variants.SHAPES, "5M", SHAPE)
    done = conduct("ablations", ablations.STUDY, tmp_path / "out", tokenized, quick=True, jobs=1)
    assert [one.params["variant"] for one in done.results] == ["base", "order: rich first"]
    for one in done.results:
        assert one.values["multiply_adds"] == pytest.approx(1.2e10, rel=0.1) and one.values["refused"] == 0
        assert all(0 < nats < 1e4 for found in one.values["nats"].values() for nats in found)
    assert not list((tmp_path / "out" / "runs").iterdir())
    assert "| order: rich first |" in (tmp_path / "out" / "results.md").read_text()
    again = conduct("ablations", ablations.STUDY, tmp_path / "out", tokenized, quick=True, jobs=1)
    assert again.results == done.results
