"""Preference pairs from the formats in use to shards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omni.cli import main
from omni.decode.parts import Text
from omni.model.config import ModelConfig
from omni.model.folder import save_model
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, Sequence
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.text import TextTokenizer
from omni.train.data.shards import Shard
from omni.train.data.sources.record import BadRecordError, Files
from omni.train.tuning.pairs import Pair, pair_of, sequence_of, write_pairs
from omni.vocab import Vocabulary

TEXT = TextTokenizer.train(["is an owl a bird? yes no"], 270)
VOCAB = Vocabulary.of(Tokenizers(TEXT))
PARTS = [{"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]
ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "is an owl a bird?"}]
YES, NO = [{"role": "assistant", "content": "yes"}], [{"role": "assistant", "content": "no </text><turn>"}]
BEFORE: list[Any] = [Text("be brief", "system"), Text("is an owl a bird?")]
SAID = Pair(BEFORE, [Text("yes", "assistant")], [Text("no </text><turn>", "assistant")])
FORMATS: list[tuple[dict[str, Any], Pair]] = [
    ({"prompt": ASKED, "chosen": YES, "rejected": NO}, SAID),
    ({"messages": ASKED, "chosen": PARTS, "rejected": "no </text><turn>"}, SAID),
    ({"chosen": ASKED + YES, "rejected": ASKED + NO}, SAID),
    ({"input": {"messages": ASKED}, "preferred_output": YES, "non_preferred_output": NO}, SAID),
    ({"prompt": "is an owl a bird?", "chosen": "yes", "rejected": "no"},
     Pair(BEFORE[1:], [Text("yes", "assistant")], [Text("no", "assistant")])),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), FORMATS)
def test_the_formats_of_trl_and_openai_say_the_same(line: dict[str, Any], expected: Pair, tmp_path: Path) -> None:
    assert pair_of(line, Files(tmp_path, tmp_path)) == expected


def test_a_pair_is_both_conversations_with_loss_on_the_answers_alone() -> None:
    before: list[Any] = [Text("is an owl"), Text("a bird?", "assistant"), Text("is it?")]
    sequence = sequence_of(Pair(before, [Text("yes", "assistant")], [Text("no", "assistant")]), Tokenizers(TEXT), VOCAB)
    cut = int(np.flatnonzero(sequence.ids[:, 0] == VOCAB.control("<bos>"))[1])
    for part, answer in ((slice(0, cut), "yes"), (slice(cut, None), "no")):
        said = Sequence(sequence.ids[part], sequence.loss[part], 0)
        whole = [*before, Text(answer, "assistant")]
        segments = [Segment("text", np.array(TEXT.encode(part.text)), part.role) for part in whole]
        assert said.segments(VOCAB) == segments
        names = [VOCAB.controls[i] if i < VOCAB["control"].size else "" for i in said.ids[said.loss, 0]]
        assert names[-2:] == ["</text>", "<turn>"] and not any(names[:-2])
        assert TEXT.decode(VOCAB["text"].codes(said.ids[said.loss, 0][:-2]).tolist()) == answer


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "Expecting"),
        ("[]", "not a JSON object"),
        ('{"prompt": "a", "chosen": "b"}', "rejected: must be a text or a list of messages"),
        ('{"prompt": "a", "chosen": "b", "rejected": "b"}', "are the same"),
        ('{"chosen": "b", "rejected": "c"}', "there must be a prompt"),
        ('{"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": "c"}', "the last word"),
        ('{"prompt": "a", "chosen": [{"role": "user", "content": "b"}], "rejected": "c"}', "chosen: must begin with"),
        ('{"prompt": [{"role": "tool", "content": "a"}], "chosen": "b", "rejected": "c"}', "role 'tool' is not one of"),
        ('{"prompt": [{"role": "user", "content": 3}], "chosen": "b", "rejected": "c"}', "`content` is neither"),
        ('{"prompt": [{"role": "user", "content": [{"type": "image", "image": "o.png"}]}], "chosen": "b",'
         ' "rejected": "c"}', "no image tokenizer"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_in_one_line(
    line: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n" + line)
    words = ["data", "pairs", str(path), "--model", str(save_model_to(tmp_path)), "--out", str(tmp_path / "pairs")]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{path}, line 2: " in said and told in said and not (tmp_path / "pairs").exists()


def test_a_prompt_may_show_a_picture(tmp_path: Path) -> None:
    image = ImageTokenizer(ImageConfig(16, 8, (4, 4), width=16, fine_width=8, encoder_layers=1, decoder_layers=1))
    image.eval()
    tokenizers = Tokenizers(TEXT, image=image)
    Image.new("RGB", (16, 16), "red").save(tmp_path / "owl.png")
    asked = [{"role": "user", "content": [{"type": "image", "image": "owl.png"}, {"type": "text", "text": "a bird?"}]}]
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": asked, "chosen": "yes", "rejected": "no"}))
    vocab = Vocabulary.of(tokenizers)
    assert write_pairs(path, tmp_path / "pairs", tokenizers, vocab) == 1
    sequence = Shard.load(tmp_path / "pairs", vocab).sequence(0)
    assert int(vocab["image"].holds(sequence.ids).sum()) == 2 * vocab.picture_tokens
    assert not sequence.loss[vocab["image"].holds(sequence.ids)[:, 0]].any()


def test_spoken_answers_need_the_flat_layout(tmp_path: Path) -> None:
    vocab = Vocabulary(len(TEXT), codebooks=2, codebook_size=4, image=1, picture_tokens=1, layout="delay")

    class Spoken(Text):
        def segment(self, tokenizers: Tokenizers, vocab: Vocabulary) -> Segment:
            return Segment("audio", np.zeros((1, 2), np.int64), self.role)

    with pytest.raises(BadRecordError, match="in the flat layout only, not in delay"):
        sequence_of(Pair([Text("a")], [Spoken("b", "assistant")], [Text("c", "assistant")]), Tokenizers(TEXT), vocab)


def save_model_to(folder: Path) -> Path:
    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=24).for_vocabulary(VOCAB)
    save_model(folder / "model", OmniTransformer(config).state_dict(), config, VOCAB)
    Tokenizers(TEXT).save(folder / "model" / "tokenizers")
    return folder / "model"


def test_the_command_writes_a_shard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line, _ in FORMATS))
    words = ["data", "pairs", str(path), "--model", str(save_model_to(tmp_path)), "--out", str(tmp_path / "pairs")]
    assert main(words) == 0
    shard = Shard.load(tmp_path / "pairs", VOCAB)
    assert len(shard) == 5 and shard.task == "preferences" and shard.items[2] == "pairs.jsonl:3"
    assert np.array_equal(shard.sequence(0).ids, sequence_of(SAID, Tokenizers(TEXT), VOCAB).ids)
    assert main([*words[:2], str(tmp_path / "none.jsonl"), *words[3:]]) == 2
    assert f"omni: {tmp_path / 'none.jsonl'}: no such file\n" in capsys.readouterr().err
