"""Low-rank adapters through peft: put into our modules, saved in peft's format, merged into plain weights."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import atomic_path
from omni.model.init import Spread
from omni.model.transformer import OmniTransformer
from omni.train.tuning.recipe import LoraRecipe

if TYPE_CHECKING:
    from peft import LoraConfig

DOWN, UP, BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer."


def add_adapters(model: OmniTransformer, plan: LoraRecipe) -> None:
    """Give the matrices that `plan` names an adapter, in place, and freeze everything else (Hu et al. 2022).

    Raises InputError for a target that no matrix has. (The output table is none: the loss reads it outside its module.)
    """
    from peft import inject_adapter_in_model

    matrices = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "output"]
    for target in plan.targets:
        if not any(f".{name}".endswith(f".{target}") for name in matrices):
            known = ", ".join(sorted({".".join(name.split(".")[-2:]) for name in matrices}))
            raise InputError(f"lora.targets: no matrix is called {target!r}; there are {known}")
    inject_adapter_in_model(_config(plan), model)


def adapter_spreads(model: OmniTransformer) -> dict[str, Spread]:
    """How adapters begin: A normal, with the deviation that nn.Linear's weights have, and B zero (Hu et al. 2022)."""
    return {
        name: (0.0, 1 / math.sqrt(3 * parameter.shape[1]) if name.endswith(DOWN) else 0.0)
        for name, parameter in model.named_parameters()
        if is_adapter(name)
    }


def is_adapter(name: str) -> bool:
    """Whether a parameter of a model with adapters is one of theirs."""
    return ".lora_" in name


def plain_name(name: str) -> str:
    """What a parameter that is none of theirs is called in the model without adapters."""
    return name.replace(BASE, ".")


def merge(name: str, weight: Tensor, adapters: Mapping[str, Tensor], plan: LoraRecipe) -> Tensor:
    """What a named parameter is without adapters: W + alpha / rank * B A where it has one, else itself."""
    module = name.removesuffix(f"{BASE}weight")
    down = adapters.get(module + DOWN)                                  # [rank, columns]
    if down is None:
        return weight
    change = plan.alpha / plan.rank * (adapters[module + UP].float() @ down.float())
    return (weight.float() + change).to(down.dtype)


def save_adapter(folder: Path, weights: Mapping[str, Tensor], plan: LoraRecipe) -> None:
    """Write adapter_model.safetensors and adapter_config.json, which peft loads."""
    adapter = {
        f"base_model.model.{name.replace('.default.', '.')}": value.contiguous()
        for name, value in weights.items()
        if is_adapter(name)
    }
    with atomic_path(folder) as scratch:
        scratch.mkdir()
        _config(plan).save_pretrained(str(scratch))
        save_file(adapter, scratch / "adapter_model.safetensors", metadata={"format": "pt"})


def _config(plan: LoraRecipe) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(r=plan.rank, lora_alpha=plan.alpha, target_modules=list(plan.targets), inference_mode=False)
