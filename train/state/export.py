"""The model of a run in a folder of its own, as `omni generate` loads it, renewed with every checkpoint."""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from omni.files import atomic_path
from omni.model.config import ModelConfig
from omni.model.folder import WEIGHTS, complete, learnt_languages
from omni.model.stream import save_tensors
from omni.model.tensor_parallel import TensorParallel
from omni.model.transformer import OmniTransformer
from omni.train.data.loader import Dataset
from omni.train.environment import deepspeed
from omni.train.recipe import Recipe
from omni.train.start.given import tokenizers_of
from omni.train.tuning.adapters import is_adapter, merge, plain_name, save_adapter


class Exporter:
    """Writes `model/`, and `adapter/` where there are adapters. Every process has one."""

    def __init__(
        self,
        run: Path,
        recipe: Recipe,
        config: ModelConfig,
        model: OmniTransformer,
        groups: TensorParallel | None,
        rank: int,
    ) -> None:
        self.run, self.recipe, self.config, self.groups, self.rank = run, recipe, config, groups, rank
        self.parameters = dict(model.named_parameters())

    def begin(self, aside: Path, data: Dataset) -> Callable[[], None] | None:
        """Set the weights aside between two steps. What the first process is given, and may call later, writes them.

        aside: a file for them. With ZeRO 3 no memory may hold them all: they pass through that of the first process
        one by one. All processes take part, even where the first cannot write, which is raised later.
        """
        small = [name for name in self.parameters if is_adapter(name)]
        large = [name for name in self.parameters if not is_adapter(name)]
        if self.recipe.zero < 3:
            copies = dict(self._copied())
            if self.rank:
                return None
            return partial(self._save, aside, data, copies, [(name, copies[name]) for name in large])
        adapters, others, error = dict(self._gathered(small)), self._gathered(large), None
        if self.rank == 0:
            try:
                self._write(aside, adapters, others)
            except OSError as found:
                error = found
        for _ in others:                                                # what was not written still comes
            pass
        return None if self.rank else partial(self._save, aside, data, adapters, error=error)

    def _copied(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters that are whole here, or shared among processes that all take part, on the first process."""
        for name, one in self.parameters.items():
            whole = one.detach() if self.groups is None else self.groups.whole(name, one.detach())
            if self.rank == 0:
                yield name, whole.to("cpu", copy=True)

    def _gathered(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Parameters that ZeRO 3 has divided, whole on the first process and on no other."""
        for name in names:
            parameter = self.parameters[name]
            if self.recipe.offload.weights == "nvme":                   # DeepSpeed knows where on the drive it is
                with deepspeed().zero.GatheredParameters([parameter]):
                    if self.rank == 0:
                        yield name, parameter.detach()
                continue
            part = parameter.ds_tensor.to(parameter.device).view(torch.uint8)  # type: ignore[attr-defined]
            if self.rank:
                dist.gather(part, dst=0)
                continue
            whole = part.new_empty(dist.get_world_size() * len(part))
            dist.gather(part, list(whole.split(len(part))), dst=0)
            shape = parameter.ds_shape                                  # type: ignore[attr-defined]
            yield name, whole.view(parameter.dtype)[: math.prod(shape)].view(shape)

    def _write(self, path: Path, adapters: Mapping[str, Tensor], weights: Iterable[tuple[str, Tensor]]) -> None:
        lora = self.recipe.lora
        shapes = ((name, one, self._shape(name, one)) for name, one in self.parameters.items())
        like = {
            plain_name(name): torch.empty(shape, dtype=one.dtype, device="meta")
            for name, one, shape in shapes
            if not is_adapter(name)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, like, ((plain_name(name), merge(name, one, adapters, lora)) for name, one in weights))

    def _shape(self, name: str, one: Tensor) -> torch.Size:
        """Of the whole parameter."""
        if self.groups is not None and name in self.groups.cuts:
            return self.groups.cuts[name].whole(one.shape, self.groups.size)
        return getattr(one, "ds_shape", one.shape)

    def _save(
        self,
        aside: Path,
        data: Dataset,
        adapters: Mapping[str, Tensor],
        weights: Iterable[tuple[str, Tensor]] | None = None,
        error: OSError | None = None,
    ) -> None:
        """Write the folder, with `weights` or those that already lie in `aside`, unless they met an error."""
        if error is not None:
            raise error
        if weights is not None:
            self._write(aside, adapters, weights)
        if self.recipe.lora.rank:
            save_adapter(self.run / "adapter", adapters, self.recipe.lora)
        tokenizers = tokenizers_of(self.recipe)
        with atomic_path(self.run / "model") as scratch:
            scratch.mkdir()
            aside.replace(scratch / WEIGHTS)
            complete(scratch, self.config, data.vocab, self._languages(data))
            if tokenizers is not None:
                shutil.copytree(tokenizers, scratch / "tokenizers")

    def _languages(self, data: Dataset) -> list[str] | None:
        """Those of the data and of the model that the run began with; None where nobody knows which that learnt."""
        before = [] if self.recipe.beginning is None else learnt_languages(self.recipe.beginning)
        return None if before is None else [*{*before, *data.languages}]
