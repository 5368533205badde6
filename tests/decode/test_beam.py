"""Beam search against every text there is."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omni
from omni.cli import main
from omni.decode.beam import beam_search, most_probable
from omni.decode.generate import draw_many
from omni.decode.heard import MISHEARD, TRUST, Ear
from omni.decode.mbr.answers import Way
from omni.decode.mbr.speech import Speech, quality
from omni.decode.samplers import GREEDY, Sampler
from omni.decode.say import answer, begin
from omni.decode.want import Want
from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, Sequence
from omni.tokenizers.audio.guidance import Alphabet
from omni.tokenizers.audio.words import LETTERS_A_FRAME
from omni.vocab import Vocabulary

VOCAB = Vocabulary(text=3, codebooks=1, codebook_size=2, image=2, picture_tokens=1, frames=1)
ASKED = [Segment("text", np.array([0, 1, 2]))]
LIMIT = 3


def model(seed: int, prefix: bool = False) -> OmniTransformer:
    torch.manual_seed(seed)
    shape = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=24, max_steps=40, prefix=prefix)
    built = OmniTransformer(shape.for_vocabulary(VOCAB)).eval()
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return built


@torch.no_grad()
def log_probability(
    built: OmniTransformer, codes: tuple[int, ...], asked: list[Segment] = ASKED, limit: int = LIMIT
) -> float:
    """By definition: at every step a text id or the end, renormalised; at the limit the end alone."""
    ids = Sequence.of([*asked, Segment("text", np.array(codes, np.int64), "assistant")], VOCAB)
    start = len(ids) - 3 - len(codes)                                   # after <text>; before </text> <turn> <eos>
    allowed = [*range(VOCAB["text"].start, VOCAB["text"].stop), VOCAB.control("</text>")]
    total = 0.0
    for step in range(start, start + len(codes) + (len(codes) < limit)):
        stream = begin(built, VOCAB, asked, [Want("text", limit=limit)])
        stream.state()
        stream.feed(ids.ids[None, len(stream) : step])
        logs = built.logits(stream.state())[0, allowed].log_softmax(dim=0)
        total += float(logs[allowed.index(int(ids.ids[step, 0]))])
    return total


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.6, 1.0]), st.booleans())
def test_a_beam_wide_enough_finds_the_best_of_all_texts(seed: int, penalty: float, prefix: bool) -> None:
    built = model(seed, prefix)
    texts = [codes for n in range(LIMIT + 1) for codes in itertools.product(range(3), repeat=n)]
    exact = {codes: log_probability(built, codes) for codes in texts}
    ranked = sorted(texts, key=lambda codes: -exact[codes] / (len(codes) + 1) ** penalty)
    stream = begin(built, VOCAB, ASKED, [Want("text", limit=LIMIT)])
    found = beam_search(stream, VOCAB, Want("text", limit=LIMIT), beams=40, penalty=penalty, best=5)
    assert [tuple(one.segment.codes.tolist()) for one in found] == ranked[:5]
    assert [one.log_probability for one in found] == pytest.approx([exact[codes] for codes in ranked[:5]], abs=1e-4)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 999))
def test_a_transcript_is_the_best_of_all_texts_by_the_model_and_by_ctc(seed: int) -> None:
    """Two frames are four moments, so no text of five letters can be heard."""
    built, limit = model(seed), 5
    chances = np.random.default_rng(seed).dirichlet(np.ones(4), (2, LETTERS_A_FRAME))  # blank, three letters
    sound, ear = Segment("audio", np.array([[0], [1]])), Ear(chances, np.array([1, 2, 3, 0]), Alphabet([], "abc"))
    moments = torch.from_numpy((1 - MISHEARD) * chances.reshape(-1, 4) + MISHEARD / 4).log()  # [moments, 4]
    exact = {}
    for codes in (codes for n in range(limit) for codes in itertools.product(range(3), repeat=n)):
        letters = torch.tensor([codes], dtype=torch.long) + 1
        lost = torch.nn.functional.ctc_loss(moments[:, None], letters, [len(moments)], [len(codes)], reduction="sum")
        exact[codes] = TRUST * log_probability(built, codes, [sound], limit) - float(lost)
    want = Want("text", limit=limit, verbatim=True, ear=ear)
    found = beam_search(begin(built, VOCAB, [sound], [want]), VOCAB, want, beams=99, penalty=0, best=3, before=sound)
    ranked = sorted(exact, key=lambda codes: -exact[codes])[:3]
    assert [tuple(one.segment.codes.tolist()) for one in found] == ranked
    assert [one.log_probability for one in found] == pytest.approx([exact[codes] for codes in ranked], abs=1e-4)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 999), st.booleans(), st.integers(1, 4), st.sampled_from([0.0, 1.0]), st.data())
def test_texts_looked_for_side_by_side_are_those_of_each_alone(
    seed: int, prefix: bool, beams: int, penalty: float, data: st.DataObject
) -> None:
    """Of conversations of any lengths, some too long for a whole text, some of which are written down as heard."""
    built, best = model(seed, prefix), min(2, beams)
    chances = np.random.default_rng(seed).dirichlet(np.ones(4), (2, LETTERS_A_FRAME))
    ear = Ear(chances, np.array([1, 2, 3, 0]), Alphabet([], "abc"))
    want = Want("text", limit=20, verbatim=True, ear=ear)
    lengths = data.draw(st.lists(st.integers(0, 16), min_size=1, max_size=20))
    asked = [
        [Segment("audio", np.arange(n)[:, None] % 2) if n % 3 else Segment("text", np.arange(n) % 3)] for n in lengths
    ]
    together = most_probable(built, VOCAB, asked, want, beams, penalty, best)
    assert len(together) == len(asked)
    for segments, found in zip(asked, together, strict=True):
        stream = begin(built, VOCAB, segments, [want])
        alone = beam_search(stream, VOCAB, want, beams, penalty, best, segments[-1])
        assert [one.segment for one in found] == [one.segment for one in alone]
        assert [one.score for one in found] == pytest.approx([one.score for one in alone], abs=1e-4)


def test_scores_that_are_no_numbers_are_refused() -> None:
    built = model(0)
    built.blocks[0].feed_forward.down.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="no id can be drawn"):
        most_probable(built, VOCAB, [ASKED] * 2, Want("text", limit=LIMIT))


def test_a_beam_of_one_is_greedy() -> None:
    for seed in range(5):
        built, wants = model(seed), [Want("text", limit=9)]
        greedy = answer(begin(built, VOCAB, ASKED, wants), VOCAB, wants, GREEDY)
        (found,) = beam_search(begin(built, VOCAB, ASKED, wants), VOCAB, wants[0], beams=1, penalty=0)
        assert len(found.segment.codes) <= len(greedy[0].codes)         # it may stop at an end that greedy passes by
        assert (found.segment.codes == greedy[0].codes[: len(found.segment.codes)]).all()


@pytest.mark.parametrize("layout", ["flat", "delay", "depth"])
def test_models_of_every_layout_have_beams(models: Callable[..., Path], layout: str) -> None:
    pipeline, parts = omni.load(models(layout)), [omni.Text("hello")]
    (found,) = pipeline.most_probable(parts, 1, 0.0, max_tokens=9)
    greedy, codes = pipeline(parts, sampler=GREEDY, max_tokens=9).segments[0].codes, found.segments[0].codes
    assert (codes == greedy[: len(codes)]).all()


def test_what_beam_search_cannot_do_is_refused() -> None:
    built = model(0)
    text = Want("text")
    for want, beams, best in ((Want("audio"), 2, 1), (text, 0, 1), (text, 2, 3), (text, 2.5, 1), (text, "a", 1),
                              (text, 129, 1)):  # fmt: skip
        with pytest.raises(InputError, match="beam"):
            beam_search(begin(built, VOCAB, ASKED, [Want("text")]), VOCAB, want, beams, best=best)
        with pytest.raises(InputError, match="beam"):
            most_probable(built, VOCAB, [ASKED], want, beams, best=best)
    with pytest.raises(InputError, match=r"the prompt takes .* shorten"):
        most_probable(built, VOCAB, [[Segment("text", np.zeros(30, np.int64))]], text)


def test_generate_chooses_among_many(
    models: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["generate", "--text", "hello", "--model", str(models("flat")), "--out", str(tmp_path)]
    many = [*common, "--max-tokens", "9", "--max-seconds", "0.2"]
    assert main([*many, "--mbr", "5", "--want", "text,audio", "--epsilon", "0.02"]) == 0
    assert (tmp_path / "answer.wav").is_file()
    assert main([*many, "--beams", "3"]) == 0
    capsys.readouterr()
    assert main([*many, "--beams", "4", "--best", "3", "--penalty", "0"]) == 0
    *said, _ = capsys.readouterr().out.split("\n")[:-1]
    kept = json.loads((tmp_path / "answer.json").read_text())
    expected = omni.load(models("flat")).most_probable([omni.Text("hello")], 4, 0.0, max_tokens=9, max_seconds=0.2)
    assert "\n".join(said) == "\n".join(one.text or "" for one in expected[:3])
    assert [kept["text"], *kept["sampling"]["others"]] == [one.text for one in expected[:3]]
    assert main([*many, "--mbr", "5", "--utility", "words", "--prune"]) == 0
    assert main([*many, "--mbr", "5", "--utility", "words", "--coarse", "3"]) == 0
    assert json.loads((tmp_path / "answer.json").read_text())["sampling"]["coarse"] == 3
    assert main([*many, "--mbr", "5", "--aggregate", "--want", "text,audio"]) == 0
    assert main([*many, "--mbr", "5", "--aggregate", "--utility", "bleu"]) == 0
    for name in ("quality", "speaker"):                                 # of sounds, whatever the language
        spoken = [*many, "--mbr", "3", "--want", "audio", "--max-seconds", "0.4", "--utility", name]
        assert main([*spoken, "--language", "fr"]) == main([*spoken, "--aggregate", "--language", "fr"]) == 0
    assert main([*spoken, "--coarse", "2"]) == 0
    for wrong in (["--beams", "2", "--want", "audio"], ["--best", "2"], ["--beams", "2", "--best", "3"],
                  ["--beams", "2", "--penalty=-1"], ["--beams", "100000"]):  # fmt: skip
        assert main([*many, *wrong]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("must be 1 <= best <= beams <= 128 and penalty >= 0")


@pytest.mark.parametrize(
    ("flags", "said"),
    [("--mbr 4 --want image", "leave image out"), ("--mbr 1", "--mbr 1: must be 2"), ("--mbr 0", "--mbr 0: must be 2"),
     ("--mbr -5", "--mbr -5: must be 2"), ("--utility bleu", "give --mbr N"), ("--prune", "--prune: compares"),
     ("--coarse 3", "--coarse: compares"), ("--aggregate", "--aggregate: compares"),
     ("--mbr 4 --coarse 0", "--coarse 0: must be 1"),
     ("--mbr 4 --utility quality", "ask for audio alone"), ("--mbr 4 --utility none", "neither a folder"),
     ("--mbr 4 --prune --want text,audio", "leave out prune"), ("--mbr 4 --coarse 2", "a dearer utility"),
     ("--mbr 4 --coarse 2 --utility words --want text,audio", "leave out coarse"),
     ("--mbr 4 --coarse 2 --utility quality --want audio --language fr", "or speaker without coarse"),
     ("--mbr 4 --utility none", "one of chrf, bleu, words, quality, speaker"),
     ("--mbr 4 --aggregate --utility words", "this utility knows no mean"),
     ("--mbr 4 --prune --aggregate", "not allowed"),
     ("--mbr 4 --want audio --language fr", "not in fr"), ("--mbr 4 --temperature 0", "all 4 answers are the same"),
     ("--mbr 4 --top-k 1", "use --temperature 1, or leave --mbr out")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_it_is_drawn(
    flags: str, said: str, models: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("draw_many", "generate_batch"):
        monkeypatch.setattr(f"omni.decode.generate.{name}", lambda *args: pytest.fail("drawn, and then refused"))
    common = ["generate", "--text", "hello", "--model", str(models("flat")), "--out", str(tmp_path)]
    assert _status([*common, *flags.split()]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert said in line


def test_draws_that_are_all_the_same_are_refused(models: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where nothing of the answer is drawn."""
    pipeline, asked = omni.load(models("flat")), {"max_tokens": 9, "max_seconds": 0.2}
    warm = {"text": GREEDY, "audio": Sampler()}
    assert pipeline.best_of([omni.Text("hi")], ["text", "audio"], 2, sampler=warm, **asked).audio is not None
    for name in ("draw_many", "generate_batch"):
        monkeypatch.setattr(f"omni.decode.generate.{name}", lambda *args: pytest.fail("drawn, and then refused"))
    for want, sampler in ((["text"], GREEDY), (["text"], Sampler(top_k=1)), (["text"], warm),
                          (["text", "audio"], {"text": GREEDY, "audio": Sampler(top_k=1)})):  # fmt: skip
        with pytest.raises(InputError, match=r"^temperature 0 and top_k 1 draw the same answer every time; use"):
            pipeline.best_of([omni.Text("hi")], want, 4, sampler=sampler, **asked)


def _status(words: list[str]) -> int:
    """A command's exit code; argparse leaves by an exception where flags exclude each other."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def test_the_best_of_many_is_one_of_them(models: Callable[..., Path]) -> None:
    from omni.decode.mbr.choose import mbr, mbr_aggregated, mbr_coarse_to_fine
    from omni.decode.mbr.utilities import bleu, chrf, word_accuracy

    pipeline, sampler = omni.load(models("flat")), omni.Sampler(temperature=1.5)
    wants, _, generator = pipeline.asked(("text",), sampler=sampler, max_tokens=12, seed=3)
    heard = pipeline.segments([omni.Text("hello")])
    drawn = draw_many(pipeline.model, pipeline.vocab, heard, wants[0], 70, sampler, generator)
    texts = [pipeline.render([segment]).text or "" for segment in drawn]
    for name, utility in (("chrf", chrf), ("words", word_accuracy)):
        best = pipeline.best_of([omni.Text("hello")], ["text"], 70, name, sampler=sampler, max_tokens=12, seed=3)
        assert len(set(texts)) > 1 and best.text == texts[mbr(texts, utility).index]
    few = {"coarse": mbr_coarse_to_fine(texts, chrf, word_accuracy, 5), "aggregate": mbr_aggregated(texts, bleu)}
    for way, choice in few.items():
        name, less = ("words", {"coarse": 5}) if way == "coarse" else ("bleu", {"aggregate": True})
        asked = {"sampler": sampler, "max_tokens": 12, "seed": 3, **less}
        assert pipeline.best_of([omni.Text("hello")], ["text"], 70, name, **asked).text == texts[choice.index]


@pytest.mark.parametrize("prefix", [False, True])
def test_many_draws_follow_the_models_own_distribution(prefix: bool) -> None:
    """Texts of at most three tokens: how often each is drawn, against its probability by definition."""
    built, draws = model(4, prefix), 3000
    generator = torch.Generator().manual_seed(0)
    drawn = draw_many(built, VOCAB, ASKED, Want("text", limit=LIMIT), draws, Sampler(), generator)
    counts = Counter(tuple(segment.codes.tolist()) for segment in drawn)
    for codes, count in counts.most_common(8):
        share = np.exp(log_probability(built, codes))
        assert abs(count / draws - share) < 4.5 * (share * (1 - share) / draws) ** 0.5


def test_a_utility_of_sounds_chooses_the_best_sound(models: Callable[..., Path]) -> None:
    """A utility made for the test: the loudest answer wins, also where most candidates are given up early."""
    from omni.decode.mbr.utilities import pairwise

    loudness = pairwise(lambda one, other: float((one.wave**2).mean()))
    pipeline, how = omni.load(models("flat")), {"max_seconds": 0.2, "seed": 3, "language": "fr"}
    wants, sampler, generator = pipeline.asked(("audio",), **how)
    heard = pipeline.segments([omni.Text("hi")])
    drawn = draw_many(pipeline.model, pipeline.vocab, heard, wants[0], 9, sampler, generator)
    loud = [float((pipeline.render([one]).audio ** 2).mean()) for one in drawn]
    for prune in (False, True):
        best = pipeline.best_of([omni.Text("hi")], ["audio"], 9, loudness, prune, **how)
        assert float((best.audio**2).mean()) == pytest.approx(max(loud))


def test_coarse_to_fine_of_sounds_keeps_those_whose_words_agree() -> None:
    """What is heard and rated is planted: the best sound says something that no other does."""
    clips = [Speech(np.full(9, 0.1, np.float32)) for _ in range(4)]
    said = ("a cat sat", "a cat sat", "a cat sat down", "no dog")
    for clip, words, rating in zip(clips, said, (1.0, 3.0, 2.0, 5.0), strict=True):
        clip.__dict__.update(words=words, rating=rating)
    assert Way(quality, sound=True)._compare(clips).index == 3
    assert Way(quality, sound=True, coarse=3)._compare(clips).index == 1
    with pytest.raises(InputError, match="coarse='a'"):
        Way(quality, sound=True, coarse="a")
