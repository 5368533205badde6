"""A model that calls a function: omni-tiny, tuned on some conversations about the weather. FOLDER

omni-tiny itself calls none. This is the way of docs/finetuning.md, by our own commands; FOLDER/caller is the result.
"""

import itertools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from omni.cli import main
from omni.live.protocol import tools
from omni.model.folder import load_model, save_model
from omni.shipped import shipped_model

CITIES, WEATHERS = ("Paris", "Rome", "Oslo", "Lima"), ("sunny", "windy", "rainy")
CITY: dict[str, Any] = {"properties": {"city": {"type": "string"}}, "required": ["city"], "type": "object"}
TITLED = {
    "properties": {"city": {"title": "City", "type": "string"}}, "required": ["city"], "title": "weather_args",
    "type": "object", "additionalProperties": False,
}  # fmt: skip
# As clients describe it: by hand, and as packages make it of a function's types.
DESCRIBED = [
    {"name": "weather", "description": "The weather in a city.", "parameters": parameters}
    for parameters in (CITY, TITLED, {**CITY, "additionalProperties": False})
]
TUNING = {
    "sequence_length": "512", "batch.rows": "4", "batch.micro": "4", "schedule.steps": "60", "schedule.warmup": "5",
    "optimizer.lr": "1e-3", "precision": "fp32", "valid": "[]", "activation_checkpointing": "false",
}  # fmt: skip


def conversations() -> Iterator[list[tuple[str, str]]]:
    """(role, text) of each message: what is asked is called, what is returned is told, and a greeting calls nothing."""
    for function, must, brief in itertools.product(DESCRIBED, (False, True), ("", "Answer briefly.\n")):
        system = ("system", brief + tools.instructions([function], must))
        for number, city in enumerate(CITIES):
            weather = WEATHERS[(number + len(brief) + must) % len(WEATHERS)]
            call = tools.written("weather", json.dumps({"city": city}))
            asked = ("user", f"What is the weather in {city}?")
            told = ("assistant", f"It is {weather} in {city}.")
            yield [system, asked, ("assistant", call), ("user", f"{weather} in {city}"), told]
        if not must:
            yield [system, ("user", "Hello"), ("assistant", "Hello!")]


def teach(folder: Path) -> Path:
    """Returns the model's folder. It is made once."""
    model = folder / "caller"
    if model.is_dir():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "chats.jsonl").open("w") as file:
        for said in conversations():
            messages = [{"role": role, "content": text} for role, text in said]
            file.write(json.dumps({"messages": messages}) + "\n")
    tiny, shard = str(shipped_model()), str(folder / "chats")
    assert main(["data", "import", str(folder / "chats.jsonl"), "--model", tiny, "--out", shard]) == 0
    flags = itertools.chain(*((f"--{name}", value) for name, value in TUNING.items()))
    assert main(["train", "sft", "--init", tiny, "--data", f"[{shard}]", "--out", str(folder), *flags]) == 0
    return sharpened(folder / "model", model)


def sharpened(source: Path, folder: Path) -> Path:
    """The same model at a quarter of its temperature: sessions draw at 1, and one unlikely token spoils a call."""
    model, vocab = load_model(source)
    with torch.no_grad():
        model.norm.weight.mul_(4)
    save_model(folder, model.state_dict(), model.config, vocab)
    shutil.copytree(source / "tokenizers", folder / "tokenizers")
    return folder


if __name__ == "__main__":
    print(teach(Path(sys.argv[1])))
