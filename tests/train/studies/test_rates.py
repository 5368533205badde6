"""The study of frame rates: its sample, its documents, ten texts told apart, scores of codecs, claims, a cell."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from omni.cli import main
from omni.errors import InputError
from omni.model.cache import Cache
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.recognizer import spoken
from omni.tokenizers.text import TextTokenizer
from omni.train.data.items import SAMPLE_RATE, Item, Recording, seal
from omni.train.studies.harness.study import Result
from omni.train.studies.rates import learning, rates, sample
from omni.train.studies.rates.documents import HEARING, TASKS, Writer
from omni.train.studies.rates.listening import likelihoods, told_apart
from omni.train.studies.rates.sample import LETTERS, TEXTS, Sample, in_groups, prepare
from omni.train.studies.rates.verdicts import Scores

WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("red", "blue", "green", "white", "black", "brown", "dog", "cat", "house", "tree"),
)


@pytest.fixture(scope="session")
def read_aloud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of `omni data voice`: two texts of three are trained on; clara reads them all, lena a few; noise."""
    folder = tmp_path_factory.mktemp("voiced")
    draw, items, waves, at = np.random.default_rng(0), [], [], 0
    for number in range(120):
        recordings = []
        for speaker in ("preset/clara", "espeak-ng/f1@145", *(["preset/lena"] if number % 4 == 0 else [])):
            length = int(draw.integers(SAMPLE_RATE // 2, SAMPLE_RATE))
            waves.append(draw.integers(-3000, 3000, length).astype(np.int16))
            recordings.append(Recording(at, length, "en", "speech", speaker, "free"))
            at += length
        text = f"{WORDS[number % 20]} {WORDS[number // 20]}"
        split = ("valid", "train", "train")[number % 3]
        items.append(Item(f"lines/{number}", "lines", split, {"en": text}, {}, (), tuple(recordings), "free", "us"))
    write(folder, items, np.concatenate(waves))
    return folder


def write(folder: Path, items: list[Item], waves: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "items.jsonl").write_text("".join(f"{item.to_json()}\n" for item in items), encoding="utf-8")
    np.save(folder / "pictures.npy", np.zeros((0, 64, 64, 3), np.uint8))
    np.save(folder / "audio.npy", waves)
    seal(folder, {"version": 1, "sample_rate": SAMPLE_RATE, "picture_size": 64, "dropped": {}})


@pytest.fixture(scope="session")
def shared(read_aloud: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "shared"
    folder.mkdir()
    prepare(read_aloud, folder, True)
    return folder


def test_the_sample_is_one_voice_and_asks_what_nobody_learnt(shared: Path, read_aloud: Path) -> None:
    found = Sample.load(shared)
    assert found.voice == "clara" and len(found.asked) == sample.QUICK_GROUPS * TEXTS
    learnt, asked = ({spoken(one.text) for one in part} for part in (found.learnt, found.asked))
    assert len(asked) == len(found.asked) and not learnt & asked
    whole = np.load(read_aloud / "audio.npy")
    for one in (*found.learnt[:5], *found.asked[:5]):
        heard = found.waves[one.start : one.start + one.length]
        assert any(np.array_equal(heard, whole[at : at + len(heard)]) for at in starts(read_aloud, one.item))


def starts(folder: Path, name: str) -> list[int]:
    lines = (folder / "items.jsonl").read_text().splitlines()
    return [one.start for line in lines if (item := Item.from_json(line)).id == name for one in item.recordings]


def test_data_without_voices_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    human = Recording(0, SAMPLE_RATE, "en", "speech", "stamps/en", "free")
    item = Item("stamps/owl", "stamps", "train", {"en": "An owl."}, {}, (), (human,), "free", "us")
    write(tmp_path / "data", [item], np.ones(SAMPLE_RATE, np.int16))
    with pytest.raises(InputError, match="no voice reads its texts in en; make the data with `omni data voice`"):
        prepare(tmp_path / "data", tmp_path, True)
    assert main(["study", "rates", "--quick", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 2
    assert "omni data voice" in capsys.readouterr().err


@given(st.lists(st.integers(8_000, 96_000), max_size=200), st.integers(1, 8))
def test_groups_hold_recordings_of_about_one_length(lengths: list[int], groups: int) -> None:
    read = [
        (Item(str(number), "lines", "valid", {}, {}, (), (), "", ""), Recording(0, length, "en", "speech", None, ""))
        for number, length in enumerate(lengths)
    ]
    found = in_groups(read, groups)
    assert len(found) == min(groups, len(read) // TEXTS) * TEXTS == len({item.id for item, _ in found})
    ordered = sorted(lengths)
    for first in range(0, len(found), TEXTS):
        group = sorted(one.length for _, one in found[first : first + TEXTS])
        assert any(group == ordered[at : at + TEXTS] for at in range(len(ordered)))  # neighbours, none between


@pytest.mark.parametrize("task", TASKS)
def test_likelihoods_are_those_of_one_step_after_another(task: str) -> None:
    """Against the model's own logits, document by document, with one codebook."""
    writer, draw = Writer.of(TextTokenizer.train((), LETTERS), tiny_codec(1), "clara"), np.random.default_rng(0)
    shape = ModelConfig(d_model=16, n_layers=1, n_heads=1, n_kv_heads=1, d_ff=24)
    torch.manual_seed(0)
    model = OmniTransformer(shape.for_vocabulary(writer.vocab)).eval()
    texts = WORDS[:TEXTS]
    codes = [draw.integers(0, rates.CODES, (int(draw.integers(3, 9)), 1)) for _ in texts]
    found = likelihoods(model, writer, task, texts, codes)
    assert found.shape == (1, TEXTS, TEXTS)
    for recording, text in ((0, 0), (3, 7), (9, 2)):
        one = writer.document(task, texts[text], codes[recording])
        ids = torch.from_numpy(one.ids)[None]
        with torch.no_grad():
            states = model.extend(ids, Cache.empty(model.config, 1, len(one), model.table))
            logs = model.logits(states)[0].log_softmax(-1)              # [steps, vocab]
        expected = sum(float(logs[at - 1, one.ids[at, 0]]) for at in np.flatnonzero(one.loss))
        assert found[0, recording, text] == pytest.approx(expected, abs=1e-3)


def tiny_codec(codebooks: int) -> Codec:
    small = CodecConfig(d_model=8, d_hop=8, encoder_layers=1, decoder_layers=1)
    config = replace(small, frame_rate=50.0, levels=learning.LEVELS, codebooks=codebooks)
    return Codec(config).eval()


@pytest.mark.parametrize("task", TASKS)
def test_texts_are_told_apart_by_bayes_rule(task: str) -> None:
    likely = np.random.default_rng(0).normal(0, 2, (3, TEXTS, TEXTS))
    found = told_apart(likely, task)
    for number in range(3 * TEXTS):
        group, recording = divmod(number, TEXTS)
        row = [float(likely[group, recording, text]) for text in range(TEXTS)]
        if task == HEARING:                                             # how likely the text is whatever is heard
            row = [value - sum(likely[group, :, text]) / TEXTS for text, value in enumerate(row)]
        share = math.exp(row[recording]) / sum(map(math.exp, row))
        assert found["nats"][number] == pytest.approx(math.log(TEXTS * share))
        assert found["right"][number] == float(row[recording] == max(row))
    assert max(found["nats"]) <= math.log(TEXTS)
    blind = np.broadcast_to(np.random.default_rng(1).normal(0, 9, TEXTS), (1, TEXTS, TEXTS))
    if task == HEARING:                                                 # that hears nothing and likes some texts
        assert told_apart(blind, task)["nats"] == pytest.approx([0.0] * TEXTS)


def planted(codec: tuple[float, int], seed: int, downstream: float, stoi: float, spread: float = 0.01) -> Result:
    """A run whose scores are even but for the seed and the group; `spread` is how far seeds lie apart."""
    groups = np.repeat(np.linspace(-0.01, 0.01, 6), TEXTS)
    values = {rates.DOWNSTREAM: downstream, rates.STOI: stoi, rates.RECOGNIZED: stoi, rates.ORIGINAL: 1.0}
    scores: dict[str, Any] = {name: (value + spread * (seed - 1) + groups).tolist() for name, value in values.items()}
    scores[rates.STOI][3] = None
    about = {"parameters": 1e6, "multiply_adds": 1e12, "steps": 1e5, "documents": 1e4}
    return Result({"frame_rate": codec[0], "codebooks": codec[1]}, seed, {**about, "scores": scores}, 1.0)


def verdicts(downstream: list[float], stoi: list[float], spread: float = 0.01) -> dict[str, str]:
    """Of the claims at 997 bit/s, by their first words; scores of 12.5, 25 and 50 Hz."""
    results = [
        planted(codec, seed, *values, spread)
        for codec, *values in zip(rates.SHAPES[997], downstream, stoi, strict=True)
        for seed in range(3)
    ]
    return {claim.claim: claim.verdict for claim in rates.judge(results)}


def test_verdicts_follow_planted_scores() -> None:
    leads = [f"at 997 bit/s 25 Hz x 4 tells a model more than {other}" for other in ("12.5 Hz x 8", "50 Hz x 2")]
    found = verdicts([1.0, 1.5, 2.0], [0.7, 0.8, 0.6])
    assert [found[name] for name in leads] == ["shown", "not shown"]
    assert found["the choice by STOI at 997 bit/s, 25 Hz x 4, is the choice by downstream"] == "not shown"
    found = verdicts([1.0, 2.0, 1.5], [0.7, 0.8, 0.6])
    assert [found[name] for name in leads] == ["shown", "shown"]
    assert found["the choice by STOI at 997 bit/s, 25 Hz x 4, is the choice by downstream"] == "shown"
    assert set(verdicts([1.0, 1.1, 1.05], [0.7, 0.8, 0.6], spread=0.5).values()) == {"inconclusive"}


def test_more_bits_are_compared_at_each_frame_rate() -> None:
    shapes = [shape for of_bits in rates.SHAPES.values() for shape in of_bits]
    results = [
        planted(shape, seed, 1.5 if shape in rates.SHAPES[997] else 1.0, 0.5) for shape in shapes for seed in (0, 1)
    ]
    found = {claim.claim: claim.verdict for claim in rates.judge(results)}
    assert found["at 12.5 Hz 12.5 Hz x 8 tells a model more than 12.5 Hz x 4"] == "shown"
    assert {cell.params["frame_rate"] for cell in rates.cells(True)} == {12.5, 25.0, 50.0}
    assert {round(rates._bits(shape)) for shape in rates.SHAPES[997]} == {997}
    assert {round(rates._bits(shape)) for shape in rates.SHAPES[498]} == {498}


def test_an_interval_adds_seeds_and_utterances() -> None:
    results = [planted(codec, seed, value, 0.5) for codec, value in (((25.0, 4), 1.5), ((50.0, 2), 1.0))
               for seed in range(3)]  # fmt: skip
    gap = Scores.of_results(results).difference(rates.DOWNSTREAM, (25.0, 4), (50.0, 2))
    assert gap.value == pytest.approx(0.5) and gap.seeds == 3           # groups are alike: only seeds are in doubt
    half = stats.t.ppf(0.975, 4) * 0.01 * math.sqrt(2 / 3)
    assert gap.high - gap.value == pytest.approx(half)
    one = Scores.of_results(results).mean(rates.DOWNSTREAM, (25.0, 4))
    assert one.high - one.value > stats.t.ppf(0.975, 4) * 0.01 * math.sqrt(1 / 3)
    alone = Scores.of_results(results[:1] + results[3:4]).mean(rates.DOWNSTREAM, (25.0, 4))
    assert math.isnan(alone.low)                                        # one seed says nothing of others


@pytest.mark.slow
def test_a_cell_from_codec_to_scores(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SHAPE", {"d_model": 16, "n_layers": 1, "n_heads": 1, "n_kv_heads": 1, "d_ff": 24})
    params = {"frame_rate": 12.5, "codebooks": 4, "steps": 1, "budget": 1e8}
    values = rates.run(params, 0, shared)
    assert values["multiply_adds"] == pytest.approx(1e8, rel=0.5)
    asked = len(Sample.load(shared).asked)
    names = {"STOI", "recognizer", "recognizer, original", "downstream"}
    assert set(values["scores"]) == names | {f"{task}, {name}" for task in TASKS for name in ("right", "nats")}
    assert {len(scores) for scores in values["scores"].values()} == {asked}
    assert not any((shared.parent / "runs").iterdir())
    codec = {"frame_rate": 12.5, "codebooks": 4}
    tables = rates.tables([Result(codec, seed, values, 1.0) for seed in (0, 1)])
    assert [row[:3] for row in next(iter(tables.values()))[1:]] == [["12.5 Hz x 4", "498", "12.5"]]
