"""Steps of several conversations in one pass on a GPU, which replays it as one CUDA graph.

A step has some 25 kernels a layer, and to launch them one by one takes longer than they do. A pass therefore has a
fixed number of rows and looks at a fixed length of the past, so that it can be recorded; what is not filled is masked.
A CPU runs the same pass without recording it.
"""

from collections import Counter
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from omni.decode.together import Together
from omni.model.cache import Cache
from omni.model.transformer import OmniTransformer

ROWS = (1, 2, 4, 8, 16, 32)                                             # steps that a pass can take
SHORTEST = 256                                                          # steps of the past that a pass looks at, or
                                                                        # twice as many, and so on
MOST, SHARE = 32, 0.25                                                  # slots, and what they take of free memory


def slots(model: OmniTransformer) -> int:
    """For how many conversations there is memory on a model's GPU; 0 on anything else."""
    table = model.table
    if table.device.type != "cuda":
        return 0
    free = int(torch.cuda.mem_get_info(table.device)[0])
    return min(MOST, int(SHARE * free / Cache.size(model.config, model.config.max_steps, table)))


class SlotStep(Together):
    """A few steps of conversations whose pasts lie in slots of one buffer a layer; of others the model's own way."""

    def __init__(self, model: OmniTransformer, slots: int) -> None:
        super().__init__(model)
        c = model.config
        shape = slots + 1, c.n_kv_heads, c.max_steps, c.head_dim        # the last is for rows that nobody needs
        self.keys = [model.table.new_zeros(shape) for _ in range(c.n_layers)]
        self.values = [model.table.new_zeros(shape) for _ in range(c.n_layers)]
        self.slots, self.pool = slots, None if model.table.device.type == "cpu" else torch.cuda.graph_pool_handle()
        self._taken: WeakKeyDictionary[Cache, int] = WeakKeyDictionary()  # until a cache is gone
        self._passes: dict[tuple[int, int], Pass] = {}

    def empty(self, batch: int, max_steps: int) -> Cache:
        """A cache in a slot; one of its own for a batch, and where no slot is free."""
        free = {*range(self.slots)} - {*self._taken.values()}
        if batch > 1 or not free:
            return super().empty(batch, max_steps)
        slot = min(free)
        keys, values = ([one[slot : slot + 1, :, :max_steps] for one in every] for every in (self.keys, self.values))
        cache = Cache(keys, values, torch.zeros(1, dtype=torch.long, device=self.model.table.device))
        self._taken[cache] = slot
        return cache

    def takes(self, cache: Cache, steps: int) -> bool:
        return cache in self._taken and 0 < steps <= ROWS[-1] and cache.length + steps <= cache.max_steps

    def together(self, ids: Tensor, caches: Sequence[Cache]) -> Tensor:
        added, places = Counter[Cache](), list[tuple[int, int]]()       # of each row: its slot, and which step it is
        for cache in caches:
            places.append((self._taken[cache], cache.length + added[cache]))
            added[cache] += 1
        parts = range(0, len(places), ROWS[-1])
        states = [self._passed(ids[at : at + ROWS[-1]], places[at : at + ROWS[-1]]) for at in parts]
        for cache in caches:
            cache.length += 1
        return torch.cat(states)

    def _passed(self, ids: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
        rows = next(size for size in ROWS if size >= len(places))
        needed, steps = 1 + max(at for _, at in places), SHORTEST
        while steps < needed:
            steps *= 2
        size = rows, min(steps, self.model.config.max_steps)
        if size not in self._passes:
            self._passes[size] = Pass(self, *size)
        return self._passes[size](ids, places)


class Pass:
    """Rows that each join a slot, over so many steps of the past; recorded where a GPU can."""

    def __init__(self, step: SlotStep, rows: int, steps: int) -> None:
        self.step, self.steps = step, steps
        table, c = step.model.table, step.model.config
        self.ids = table.new_zeros((rows, c.channels), dtype=torch.long)
        self.unused = torch.tensor([[step.slots], [0]])                 # where rows go that nobody needs
        self.places = self.unused.expand(2, rows).to(table.device, copy=True)  # slots, and steps of them
        self.recorded = None if table.device.type == "cpu" else self._record()

    def __call__(self, ids: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
        """Steps [at most rows, channels] that join (slot, step) each, to states [as many, d_model]."""
        count = len(places)
        self.ids[:count] = ids
        there = self.unused.repeat(1, len(self.ids))
        there[:, :count] = torch.tensor(places).T
        self.places.copy_(there)
        if self.recorded is None:
            return self._run()[:count]
        graph, states = self.recorded
        graph.replay()
        return states[:count].clone()                                   # the next replay overwrites them

    def _record(self) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: run aside first, since libraries choose their
        kernels and take memory then."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._run()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, self.step.pool, capture_error_mode="thread_local"):
            states = self._run()
        return graph, states

    def _run(self) -> Tensor:
        """The model's layers for all rows: [rows, d_model]."""
        model, (slot, at) = self.step.model, self.places                # [rows] each
        x = model.embed(self.ids[:, None])                              # [rows, 1, d_model]
        rope = model.rope(at[:, None])
        seen = torch.arange(self.steps, device=at.device) <= at[:, None]  # [rows, steps]
        for block, *past in zip(model.blocks, self.step.keys, self.step.values, strict=True):
            x = block.join(x, rope, past, (slot, at), seen[:, None, None])
        return model.norm(x)[:, 0]
