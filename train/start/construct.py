"""The model that a run begins with, made so that no process ever holds more of it than it does while training.

The modules are put together on the meta device, without weights. Then one parameter after the other gets its own, drawn
or read from `init`: with ZeRO 3 each process the part that it keeps, else all of it, on the device and in the precision
of training. The values are the same whatever the stage and the number of processes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from omni.errors import InputError
from omni.model.attention import Rope
from omni.model.config import ModelConfig
from omni.model.folder import Weights, verify
from omni.model.init import draw, spreads
from omni.model.tensor_parallel import TensorParallel
from omni.model.transformer import OmniTransformer
from omni.tokenizers.bundle import Tokenizers
from omni.train.environment import deepspeed
from omni.train.recipe import Recipe
from omni.train.start.likeness import start_alike
from omni.train.tuning.adapters import adapter_spreads, is_adapter, plain_name
from omni.train.tuning.binary import binarize
from omni.train.tuning.distil import teacher_of
from omni.train.tuning.prepare import prepare
from omni.vocab import Vocabulary


def construct(
    config: ModelConfig,
    recipe: Recipe,
    vocab: Vocabulary,
    device: torch.device,
    groups: TensorParallel | None = None,
) -> OmniTransformer:
    """A model of a shape with the weights of `init` or, without it, drawn ones and embeddings that begin alike.

    groups: processes that share its blocks, of which this one then has its part.
    Every process calls it, after they have found each other.
    Raises InputError when `init` is damaged or a pattern of the recipe names nothing.
    """
    with torch.device("meta"):
        model = prepare(OmniTransformer(config), recipe)
    allocate, fill = _allocator(recipe, device), _source(model, recipe, device)
    if groups is not None:
        with torch.device("meta"):
            groups.divide(model)
    for path, module in list(model.named_modules()):
        if isinstance(module, Rope):
            module.compute()
            module.to(device)
        for name, empty in list(module.named_parameters(recurse=False)):
            parameter, known = allocate(empty), f"{path}.{name}" if path else name
            setattr(module, name, parameter)
            if groups is not None and known in groups.cuts:
                _fill_share(parameter, groups, known, fill)
            else:
                fill(*_held(parameter), known)
    if groups is not None:
        groups.watch(model)
    if recipe.init is None and recipe.tokenizers is not None:
        with _whole(model) as write:
            if write:
                start_alike(model, vocab, Tokenizers.load(recipe.tokenizers), recipe.seed)
    model.teacher = teacher_of(recipe, device, model.table.dtype)
    binarize(model, recipe.binary, 0)
    model.recompute = recipe.activation_checkpointing
    if recipe.compile:
        model.compile_blocks()
    return model


def _fill_share(
    parameter: nn.Parameter, groups: TensorParallel, name: str, fill: Callable[[Tensor, int, str], None]
) -> None:
    """Cut a parameter's share out of the whole, which is there for a moment."""
    cut = groups.cuts[name]
    whole = parameter.detach().new_empty(cut.whole(parameter.shape, groups.size))
    fill(whole.view(-1), 0, name)
    parameter.detach().copy_(cut.of(whole, groups.rank, groups.size))


def _source(model: OmniTransformer, recipe: Recipe, device: torch.device) -> Callable[[Tensor, int, str], None]:
    """What writes the values of a named parameter from a place on into a flat tensor."""
    how = spreads(model, model.config) | adapter_spreads(model)
    stored = None
    if recipe.beginning is not None:
        _verify_once(recipe.beginning, device)
        shapes = {plain_name(name): one.shape for name, one in model.named_parameters() if not is_adapter(name)}
        stored = Weights(recipe.beginning, shapes)

    def fill(flat: Tensor, start: int, name: str) -> None:
        if stored is None or is_adapter(name):
            draw(flat, start, name, how[name], recipe.seed)
        else:
            stored.read(flat, start, plain_name(name))

    return fill


def _verify_once(folder: str, device: torch.device) -> None:
    """The first process alone reads the whole files; where they are damaged, every one raises InputError."""
    error = None
    if dist.get_rank() == 0:
        try:
            verify(folder)
        except InputError as found:
            error = found
    told = torch.tensor(float(error is not None), device=device)
    dist.all_reduce(told)
    if error is not None:
        raise error
    if told:
        raise InputError(f"init: {folder}: cannot be used; the first process says why")


def _allocator(recipe: Recipe, device: torch.device) -> Callable[[nn.Parameter], nn.Parameter]:
    """What makes a parameter without values like one on the meta device; with ZeRO 3 divided among the processes."""
    lower = recipe.precision == "bf16" and recipe.zero > 0              # the masters, and all without ZeRO, are in fp32
    dtype = torch.bfloat16 if lower else torch.float32
    zero: Any = None
    if recipe.zero == 3 and recipe.offload.weights != "nvme":           # those DeepSpeed divides when it has its drive
        kept_at = None if recipe.offload.weights == "none" else recipe.offload.weights
        zero = deepspeed().zero.Init(module=nn.Module(), remote_device=kept_at, dtype=dtype)

    def allocate(empty: nn.Parameter) -> nn.Parameter:
        made = nn.Parameter(torch.empty(empty.shape, dtype=dtype, device=device), requires_grad=empty.requires_grad)
        if zero is not None:                                            # not by its public face, which sends values too
            zero._convert_to_deepspeed_param(made)
            made.partition()                                            # type: ignore[attr-defined]
        return made

    return allocate


def _held(parameter: nn.Parameter) -> tuple[Tensor, int]:
    """What this process keeps of a flattened parameter, and where that begins."""
    if not hasattr(parameter, "ds_tensor"):
        return parameter.detach().view(-1), 0
    part = parameter.ds_tensor
    start = parameter.ds_zero_partition_rank * part.numel()             # type: ignore[attr-defined]
    return part[: max(0, parameter.ds_numel - start)], start            # type: ignore[attr-defined]


@contextmanager
def _whole(model: OmniTransformer) -> Iterator[bool]:
    """The embedding and output tables whole for a moment, and whether this process is to write them."""
    if not hasattr(model.embedding.weight, "ds_tensor"):
        yield True
        return
    with deepspeed().zero.GatheredParameters(model.tables, modifier_rank=0):
        yield dist.get_rank() == 0
