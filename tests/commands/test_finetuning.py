"""docs/finetuning.md from end to end: a checkpoint of transformers becomes ours, learns, and goes back."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import omni
from omni.cli import main
from omni.train.monitor.log import read_log

CHATS = [("is an owl a bird?", "yes"), ("is a bell a bird?", "no"), ("say owl", "an owl"), ("hello", "bonjour!")]


def save_checkpoint(folder: Path) -> None:
    """A tiny Qwen2 with random weights, as `save_pretrained` leaves it."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([f"{asked} {answer}" for asked, answer in CHATS], trainer)
    core.add_special_tokens(["<|endoftext|>"])
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    core.save(str(folder / "tokenizer.json"))


def write_chats(path: Path) -> None:
    for asked, answer in CHATS:
        said = {"system": "be brief", "user": asked, "assistant": answer}
        messages = [{"role": role, "content": text} for role, text in said.items()]
        with path.open("a") as lines:
            lines.write(json.dumps({"messages": messages}) + "\n")


def answers(model: Path) -> list[str | None]:
    loaded = omni.load(model)
    greedy = omni.Sampler(temperature=0.0)
    asked = [[omni.Text("be brief", "system"), omni.Text(words)] for words, _ in CHATS]
    return [loaded(parts, sampler=greedy, max_tokens=30).text for parts in asked]


@pytest.mark.slow
def test_from_a_checkpoint_to_a_chat_to_a_preference_and_back(tmp_path: Path) -> None:
    model, chats = tmp_path / "imported", tmp_path / "chats.jsonl"
    save_checkpoint(tmp_path / "checkpoint")
    write_chats(chats)
    assert main(["import", str(tmp_path / "checkpoint"), "--out", str(model), "--languages", "en"]) == 0
    assert main(["data", "import", str(chats), "--model", str(model), "--out", str(tmp_path / "chats")]) == 0
    common = ["--precision", "fp32", "--valid", "[]", "--batch.micro", "4", "--schedule.warmup", "5"]
    sft = ["train", "sft", "--init", str(model), "--data", f"[{tmp_path / 'chats'}]", "--out", str(tmp_path / "sft")]
    steps = ["--sequence_length", "64", "--batch.rows", "4", "--schedule.steps", "80", "--optimizer.lr", "5e-3"]
    assert main([*sft, *common, *steps]) == 0
    assert answers(tmp_path / "sft" / "model") == [answer for _, answer in CHATS]

    pairs = tmp_path / "pairs.jsonl"
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    pairs.write_text(json.dumps({"prompt": messages, "chosen": "no", "rejected": "bonjour!"}) + "\n")
    tuned = str(tmp_path / "sft" / "model")
    assert main(["data", "pairs", str(pairs), "--model", tuned, "--out", str(tmp_path / "pairs")]) == 0
    dpo = ["train", "dpo", "--init", tuned, "--data", f"[{tmp_path / 'pairs'}]", "--out", str(tmp_path / "dpo")]
    steps = ["--sequence_length", "64", "--batch.rows", "2", "--schedule.steps", "30", "--optimizer.lr", "2e-3"]
    assert main([*dpo, *common, *steps, "--lora.rank", "4"]) == 0
    told = [record for record in read_log(tmp_path / "dpo") if record["kind"] == "train"]
    assert told[-1]["accuracy"] == 1 and told[-1]["margin"] > told[0]["margin"]
    assert answers(tmp_path / "dpo" / "model")[3] != "bonjour!"

    assert main(["export", tuned, "--out", str(tmp_path / "exported")]) == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    for asked, answer in CHATS:
        chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": asked}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False).input_ids])
        said = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False)
        assert tokenizer.decode(said[0, ids.shape[1] :]) == f"{answer}</text><turn>"
