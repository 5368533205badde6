"""The model, its optimizer, and DeepSpeed around both, as the recipe says."""

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from omni.model.attention import Attention
from omni.model.config import ModelConfig
from omni.model.reading import Reading
from omni.model.sequence_parallel import SequenceParallel
from omni.model.tensor_parallel import TensorParallel
from omni.model.transformer import Batch, FeedForward, OmniTransformer
from omni.train.buckets import MAX_LIVE, reduce_bucket
from omni.train.data.loader import Share
from omni.train.drive import own_folder
from omni.train.environment import alone_unless_launched, deepspeed, quiet
from omni.train.optimizers import Adafactor, AdamW, AnyOptimizer, Muon
from omni.train.recipe import OptimizerRecipe, Recipe
from omni.train.tuning.groups import rates


class Step(nn.Module):
    """The model as DeepSpeed likes it: tensors in, tensors out."""

    def __init__(self, model: OmniTransformer, autocast: bool) -> None:
        super().__init__()
        self.model, self.autocast = model, autocast

    def forward(
        self, ids: Tensor, loss: Tensor, document: Tensor, prefix: Tensor, reading: Reading | None = None
    ) -> tuple[Tensor, ...]:
        # past the model's own hooks: those of ZeRO 3 cannot look into Losses, and this module has the same parameters
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.autocast):
            losses = self.model.forward(Batch(ids, loss, document, prefix, reading))
        return losses.total, losses.each, losses.row, losses.target, losses.spelt


def start(
    make: Callable[[TensorParallel | None], OmniTransformer],
    config: ModelConfig,
    recipe: Recipe,
    share: Share,
    device: torch.device,
    step: Callable[[OmniTransformer, bool], nn.Module] = Step,
) -> tuple[Any, AnyOptimizer]:
    """DeepSpeed's engine around a model and the optimizer inside it. Starts the process group where none is.

    make: makes the model, when the processes have found each other; of its blocks the share that they are to have
    step: makes the module that DeepSpeed sees of the model, and of whether it is to compute in bf16.
    """
    ds = deepspeed()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with quiet(), alone_unless_launched():
        ds.init_distributed("nccl" if device.type == "cuda" else "gloo", verbose=False)
        groups = TensorParallel.of_world(recipe.parallel.tensor, config) if recipe.parallel.tensor > 1 else None
        ds.utils.groups.mpu = groups                                    # it remembers those of an engine before
        model = make(groups)
        optimizer = make_optimizer(model, recipe)
        if recipe.parallel.sequence > 1:
            model.parallel = SequenceParallel.of_world(recipe.parallel.sequence, model.config)
        engine, *_ = ds.initialize(
            # without ZeRO, DeepSpeed keeps no fp32 masters: there the weights stay in fp32 and the products are in bf16
            model=step(model, recipe.zero == 0 and recipe.precision == "bf16"),
            optimizer=optimizer,
            mpu=groups,
            config=deepspeed_config(recipe, share, config, max(map(_numbers, model.parameters()))),
        )
    if recipe.zero == 3:
        os.environ.setdefault("LOCAL_RANK", "0")                        # asked for whenever weights are fetched
        # the loss reads tables outside their modules
        ds.zero.register_external_parameter(engine.module, model.table)
        ds.zero.register_external_parameter(engine.module, model.embedding.weight)
    return engine, optimizer


def make_optimizer(model: OmniTransformer, recipe: Recipe) -> AnyOptimizer:
    """The recipe's optimizer. Matrices decay; norms and embeddings do not."""
    plan = recipe.optimizer
    still = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if _dimensions(parameter) > 1 and id(parameter) not in still]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in parameters if id(parameter) not in chosen]
    decays = [(matrices, plan.weight_decay), (others, 0.0)]
    if plan.kind == "adamw":
        return _adamw([group for part, decay in decays for group in _by_rate(part, decay, model, plan)], plan)
    if plan.kind == "adafactor":
        return Adafactor([{"params": part, "weight_decay": decay} for part, decay in decays], lr=plan.lr)
    rows = _stacked_rows(model)
    stacked = [(parameter, rows.get(id(parameter), [parameter.shape[0]])) for parameter in matrices]
    half = recipe.precision == "bf16"
    return Muon(stacked, _adamw([{"params": others}], plan), plan.lr, plan.weight_decay, plan.momentum, half)


def _dimensions(parameter: nn.Parameter) -> int:
    """Of the whole parameter, where ZeRO 3 has divided it too."""
    return len(getattr(parameter, "ds_shape", parameter.shape))


def _numbers(parameter: nn.Parameter) -> int:
    """In the whole parameter, alike."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _by_rate(
    parameters: list[nn.Parameter], decay: float, model: OmniTransformer, plan: OptimizerRecipe
) -> list[dict[str, Any]]:
    """Groups of parameters that learn alike; `rate` multiplies the learning rate."""
    multiplier = rates(model, plan.groups)
    return [
        {"params": [p for p in parameters if multiplier[p] == rate], "weight_decay": decay, "rate": rate}
        for rate in sorted({multiplier[p] for p in parameters}, reverse=True)
    ]


def _adamw(groups: list[dict[str, Any]], plan: OptimizerRecipe) -> AdamW:
    return AdamW(groups, lr=plan.lr, betas=plan.betas, eps=plan.eps, weight_decay=0.0, fused=True)


def _stacked_rows(model: OmniTransformer) -> dict[int, list[int]]:
    """Rows of the matrices that lie in one parameter, by its id: queries, keys and values; gate and up."""
    rows = {}
    for module in model.modules():
        if isinstance(module, Attention):
            rows[id(module.qkv.weight)] = module.sizes
        elif isinstance(module, FeedForward):
            rows[id(module.gate_up.weight)] = [module.gate_up.out_features // 2] * 2
    return rows


def deepspeed_config(recipe: Recipe, share: Share, config: ModelConfig, largest: int) -> dict[str, Any]:
    """What DeepSpeed is told; everything else about a run is ours. largest: numbers of the largest parameter."""
    return {
        "train_micro_batch_size_per_gpu": share.micro,
        "gradient_accumulation_steps": share.accumulation,
        "gradient_clipping": recipe.optimizer.clip,
        "bf16": {"enabled": recipe.precision == "bf16" and recipe.zero > 0, "check_grad_overflow": True},
        "zero_optimization": _zero(recipe, config, largest),
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }


def _zero(recipe: Recipe, config: ModelConfig, largest: int) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": recipe.zero, "reduce_bucket_size": reduce_bucket(config)}
    if recipe.zero == 3:
        zero["stage3_max_live_parameters"] = MAX_LIVE
    plan = recipe.offload
    path = own_folder(plan.path) if plan.path and "nvme" in (plan.optimizer, plan.weights) else None
    if plan.optimizer != "none":
        zero["offload_optimizer"] = {"device": plan.optimizer, "nvme_path": path}
    if plan.weights != "none":
        # the buffers hold a piece each; no weights stay in the processor's memory
        buffers = {"buffer_size": -(-largest // dist.get_world_size()), "max_in_cpu": 0}
        zero["offload_param"] = {"device": plan.weights, "nvme_path": path, **buffers}
    return zero


def gradient_norm(engine: Any, zero: int) -> float:
    """Norm of the gradient where DeepSpeed does not work it out, and refuse a step without one, by itself; else 0."""
    if zero:
        return 0.0
    if engine.mpu is not None:
        return float(engine.mpu.norm(engine.module.parameters()))
    gradients = [parameter.grad for parameter in engine.module.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))
