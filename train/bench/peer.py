"""The peer of `omni bench train`: LlamaForCausalLM in the Trainer of transformers, as its documentation sets it up."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from omni.model.config import ModelConfig
from omni.train.data.loader import Dataset

IGNORED = -100                                                          # the label that carries no loss
MOST = 2000                                                             # examples kept in memory

Example = dict[str, Tensor]


def padded_examples(data: Dataset) -> list[Example]:
    """Sequences of all tasks, shuffled, one an example."""
    rng = np.random.default_rng(0)
    places = [(part, int(number)) for part in data.parts for number in part.order]
    chosen = rng.permutation(len(places))[:MOST]
    sequences = [places[index][0].shard.sequence(places[index][1]) for index in chosen]
    return [_example(one.ids[:, 0], one.loss, np.arange(len(one))) for one in sequences]


def packed_examples(data: Dataset) -> list[Example]:
    """Our packed rows, shuffled; positions that begin anew keep documents apart (transformers masks by them)."""
    rng = np.random.default_rng(0)
    places = [(part, number) for part in data.parts for number in range(len(part))]
    found = []
    for index in rng.permutation(len(places))[: MOST // 4]:
        part, number = places[index]
        ids, loss, document, _ = part.row(number)
        starts = np.concatenate(([True], document[1:] != document[:-1]))
        position = np.arange(len(document)) - np.maximum.accumulate(np.where(starts, np.arange(len(document)), 0))
        found.append({**_example(ids[:, 0], loss, position), "useful": torch.tensor(int((document > 0).sum()))})
    return found


def _example(ids: np.ndarray, loss: np.ndarray, position: np.ndarray) -> Example:
    tokens = torch.from_numpy(ids.astype(np.int64))
    labels = torch.where(torch.from_numpy(loss), tokens, IGNORED)
    return {
        "input_ids": tokens,
        "labels": labels,
        "position_ids": torch.from_numpy(position),
        "useful": torch.tensor(len(ids)),
    }


def pad_to_longest(examples: list[Example]) -> dict[str, Tensor]:
    """What DataCollatorForLanguageModeling makes of unequal lengths: right padding and an attention mask."""

    def padded(name: str, value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence([one[name] for one in examples], batch_first=True, padding_value=value)

    ids = padded("input_ids", 0)
    lengths = torch.tensor([len(one["input_ids"]) for one in examples])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {"input_ids": ids, "labels": padded("labels", IGNORED), "attention_mask": mask}


def stack(examples: list[Example]) -> dict[str, Tensor]:
    names = ("input_ids", "labels", "position_ids")
    return {name: torch.stack([one[name] for one in examples]) for name in names}


class _Clock(TrainerCallback):
    """When each optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


class HuggingFace:
    """A model and its Trainer, which goes on where the last turn stopped."""

    def __init__(
        self, name: str, config: ModelConfig, examples: list[Example], batch: int, accumulation: int, folder: Path,
        compiled: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.examples, self.batch, self.accumulation = name, examples, batch, accumulation
        self.folder, self.compiled, self.at = folder / name, compiled, 0
        self.packed = "packed" in name
        shape = LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            max_position_embeddings=config.max_steps,
            tie_word_embeddings=config.tie_embeddings,
            attn_implementation="sdpa",
            use_cache=False,
        )
        self.model = LlamaForCausalLM(shape)

    def turn(self, steps: int) -> list[tuple[float, int]]:
        """Seconds and useful tokens of each step; a first one, with which the Trainer gets going, is not counted."""
        per_step = self.batch * self.accumulation
        chosen = [self.examples[(self.at + i) % len(self.examples)] for i in range(per_step * (steps + 1))]
        self.at += len(chosen)
        clock = _Clock()
        trainer = Trainer(
            model=self.model,
            args=self._arguments(steps + 1),
            train_dataset=chosen,
            data_collator=stack if self.packed else pad_to_longest,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        batches = [chosen[at : at + per_step] for at in range(0, len(chosen), per_step)]
        tokens = [sum(int(one["useful"]) for one in batch) for batch in batches]
        return list(zip(np.diff(clock.ends).tolist(), tokens[1:], strict=True))

    def _arguments(self, steps: int) -> TrainingArguments:
        return TrainingArguments(
            output_dir=str(self.folder),
            max_steps=steps,
            per_device_train_batch_size=self.batch,
            gradient_accumulation_steps=self.accumulation,
            learning_rate=1e-3,
            weight_decay=0.1,
            optim="adamw_torch_fused",
            train_sampling_strategy="sequential",
            use_cpu=True,
            torch_compile=self.compiled,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            log_level="error",
        )
