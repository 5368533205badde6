"""Steps of several conversations in one pass on a GPU, which replays it as one CUDA graph.

A step has some 25 kernels a layer, and to launch them one by one takes longer than they do. A pass therefore has a
fixed number of rows and looks at a fixed length of the past, so that it can be recorded; what is not filled is masked.
A CPU runs the same pass without recording it.
"""

from collections.abc import Callable, Sequence
from itertools import count, product, takewhile
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from omni.decode.together import Together
from omni.model.cache import Cache
from omni.model.transformer import OmniTransformer

ROWS = (1, 2, 4, 8, 16, 32)                                             # steps that a pass can take
SHORTEST = 256                                                          # past that a pass looks at; or twice, ...
MOST, SHARE = 32, 0.25                                                  # slots, and what they take of free memory


def slots(model: OmniTransformer) -> int:
    """For how many conversations there is memory on a model's GPU, beside a slot for none; 0 on anything else."""
    table = model.table
    if table.device.type != "cuda":
        return 0
    free = int(torch.cuda.mem_get_info(table.device)[0])
    return max(0, min(MOST, int(SHARE * free / Cache.size(model.config, model.config.max_steps, table)) - 1))


class SlotStep(Together):
    """A few steps of conversations whose pasts lie in slots of one buffer a layer; of others the model's own way."""

    def __init__(self, model: OmniTransformer, slots: int) -> None:
        super().__init__(model)
        c = model.config
        shape = slots + 1, c.n_kv_heads, c.max_steps, c.head_dim        # the last is for rows that nobody needs
        self.slots, device = slots, model.table.device
        self.keys = [model.table.new_zeros(shape) for _ in range(c.n_layers)]
        self.values = [model.table.new_zeros(shape) for _ in range(c.n_layers)]
        doubled = takewhile(lambda steps: steps < c.max_steps, (SHORTEST << times for times in count()))
        self.lengths = [*doubled, c.max_steps]                          # of the past that a pass can look at
        self.recorder = Recorder(device) if device.type == "cuda" else None
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

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in (*self.keys, *self.values))

    @torch.inference_mode()
    def ready(self) -> None:
        """Record passes of all sizes, so that no conversation waits for it."""
        for rows, steps in product(ROWS, self.lengths):
            self._pass(rows, steps)

    def takes(self, cache: Cache, steps: int) -> bool:
        return cache in self._taken and 0 < steps <= ROWS[-1] and cache.length + steps <= cache.max_steps

    def _joined(self, ids: Tensor, caches: Sequence[Cache], at: Sequence[int]) -> Tensor:
        places = [(self._taken[cache], step) for cache, step in zip(caches, at, strict=True)]
        parts = (slice(start, start + ROWS[-1]) for start in range(0, len(places), ROWS[-1]))
        return torch.cat([self._passed(ids[part], places[part]) for part in parts])

    def _passed(self, ids: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
        rows = next(size for size in ROWS if size >= len(places))
        steps = next(size for size in self.lengths if size > max(at for _, at in places))
        return self._pass(rows, steps)(ids, places)

    def _pass(self, rows: int, steps: int) -> "Pass":
        if (rows, steps) not in self._passes:
            self._passes[rows, steps] = Pass(self, rows, steps)
        return self._passes[rows, steps]


class Pass:
    """Rows that each join a slot, over so many steps of the past; recorded where a GPU can."""

    def __init__(self, step: SlotStep, rows: int, steps: int) -> None:
        self.model, self.past, self.steps = step.model, [*zip(step.keys, step.values, strict=True)], steps
        table, channels = step.model.table, step.model.config.channels
        with torch.inference_mode(False):                               # since either mode may write them later
            self.ids = table.new_zeros((rows, channels), dtype=torch.long)
            self.unused = torch.tensor([[step.slots], [0]])             # where rows go that nobody needs
            self.places = self.unused.expand(2, rows).to(table.device, copy=True)  # slots, and steps of them
        self.recorded = None if step.recorder is None else step.recorder.record(self._run)

    def __call__(self, ids: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
        """Steps [at most rows, channels] that join (slot, step) each, to states [as many, d_model]."""
        rows = len(places)
        self.ids[:rows] = ids
        there = self.unused.repeat(1, len(self.ids))
        there[:, :rows] = torch.tensor(places).T
        self.places.copy_(there)
        if self.recorded is None:
            return self._run()[:rows]
        graph, states = self.recorded
        graph.replay()
        return states[:rows].clone()                                   # the next replay overwrites them

    def _run(self) -> Tensor:
        """The model's layers for all rows: [rows, d_model]."""
        model, (slot, at) = self.model, self.places                     # [rows] each
        x = model.embed(self.ids[:, None])                              # [rows, 1, d_model]
        rope = model.rope(at[:, None])
        seen = torch.arange(self.steps, device=at.device) <= at[:, None]  # [rows, steps]
        for block, past in zip(model.blocks, self.past, strict=True):
            x = block.join(x, rope, past, (slot, at), seen[:, None, None])
        return model.norm(x)[:, 0]


class Recorder:
    """Records what kernels a function launches on one GPU; all recordings share memory and a stream."""

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def record(self, run: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """A graph, and what it writes when it is replayed.

        https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: the function runs first without being recorded, on
        the same stream, since libraries choose their kernels and take memory then.
        """
        with torch.cuda.device(self.stream.device):                     # the current one may be another
            here, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
            self.stream.wait_stream(here)
            with torch.cuda.stream(self.stream):
                run()
            here.wait_stream(self.stream)
            with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
                made = run()
        return graph, made
