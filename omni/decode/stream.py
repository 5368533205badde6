"""The past of a conversation, fed in pieces of any size, and the state that predicts its next step."""

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from omni.decode.together import Step, Together
from omni.model.cache import Cache
from omni.model.transformer import OmniTransformer

CHUNK = 512                                                             # steps fed at once, which bounds the mask
FEW = 6                                                                 # of one conversation, that others wait for


class Stream:
    """One conversation, or a batch of them that end together.

    `feed` any number of steps; `state` [batch, d_model] then predicts the step after them. However the steps are cut
    into calls, the state is the same. What was fed is computed when the state is asked for, or by `catch_up`, which
    takes the steps of many conversations at once. Of a model with a visible prefix, all that is fed before `state` is
    first asked for is the prefix. `hear` makes the past another one, keeping what the two share.
    """

    def __init__(
        self, model: OmniTransformer, batch: int = 1, max_steps: int | None = None, step: Step | None = None
    ) -> None:
        """max_steps: the most that will be fed (default: the model's limit); step: a faster way to feed a few."""
        self.model = model
        self.step, steps = step or model.extend, max_steps or model.config.max_steps
        empty = step.empty if isinstance(step, Together) else partial(Cache.empty, model.config, like=model.table)
        self.cache = empty(batch, steps)
        shape = batch, self.cache.max_steps, model.config.channels
        self._ids = torch.zeros(shape, dtype=torch.long, device=model.table.device)  # what was fed
        self._length = 0                                                # of it; the cache lags behind
        self._prefix = None if model.config.prefix else 0               # its length, None while it is open
        self._state: Tensor | None = None

    @classmethod
    def of_prompts(cls, model: OmniTransformer, prompts: Sequence[np.ndarray], room: int) -> "Stream":
        """A batch of prompts [steps, channels] of any lengths, padded on the left, with `room` for more steps."""
        longest = max(map(len, prompts))
        stream = cls(model, len(prompts), longest + room)
        ids = np.zeros((len(prompts), longest, model.config.channels), np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[longest - len(prompt) :] = prompt
        stream.cache.padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=model.table.device)
        stream.feed(ids)
        return stream

    def __len__(self) -> int:
        return self._length

    @property
    def batch(self) -> int:
        return len(self.cache.padding)

    @property
    def room(self) -> int:
        """Steps that can still be fed."""
        return self.cache.max_steps - len(self)

    @torch.inference_mode()
    def feed(self, ids: Tensor | np.ndarray) -> None:
        """Add steps [batch, steps, channels] to the past. Raises ValueError when they do not fit."""
        ids = torch.as_tensor(ids, device=self.model.table.device)
        if ids.shape[1] > self.room:
            raise ValueError(f"{ids.shape[1]} steps do not fit the room of {self.room}")
        self._ids[:, self._length : self._length + ids.shape[1]] = ids
        self._length += ids.shape[1]

    def hear(self, ids: Tensor | np.ndarray, prefix: int) -> int:
        """Make the past these steps [batch, steps, channels]: go back to where it differs from them and feed the rest.

        prefix: how many of them are the visible prefix, for a model that has one. Returns how many were fed.
        """
        ids = torch.as_tensor(ids, device=self.model.table.device)
        shared = self._shared(ids)
        if shared == ids.shape[1] == len(self) and self._prefix == (prefix if self.model.config.prefix else 0):
            return 0                                                    # nothing new was said
        kept = min(shared, ids.shape[1] - 1)                            # the last step is fed for the state after it
        if self._prefix is None or kept < self._prefix:                 # a prefix is computed whole or not at all
            kept, self._prefix = 0, None if self.model.config.prefix else 0
        self.cache.rewind(min(kept, self.cache.length))
        self._length = kept
        if self._prefix is None and prefix < ids.shape[1]:
            self.feed(ids[:, :prefix])
            self.state()                                                # closes the prefix
        self.feed(ids[:, len(self) :])
        return ids.shape[1] - kept

    def go_on(self, start: int, ids: Tensor | np.ndarray) -> None:
        """Make the past its first `start` steps, not fewer than the visible prefix, and these [batch, steps, channels];
        what it has of them it keeps.
        """
        ids = torch.as_tensor(ids, device=self.model.table.device)
        self.hear(torch.cat((self._ids[:, :start], ids), dim=1), self._prefix or 0)

    def state(self) -> Tensor:
        """What predicts the next step: [batch, d_model]. Raises ValueError when nothing was fed."""
        if self._prefix is None and self._length:
            self._extend(self._ids[:, : self._length], visible=True)
            self._prefix = self._length
        self._catch_up()
        if self._state is None:
            raise ValueError("nothing was fed, so nothing can be predicted")
        return self._state

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows [n] of the batch only."""
        self._catch_up()
        self.cache = self.cache.rows(rows)
        self._state = None if self._state is None else self._state[rows]
        self._ids = self._ids[rows]

    def _shared(self, ids: Tensor) -> int:
        """How many leading steps of these [batch, steps, channels] were fed already."""
        steps = min(self._length, ids.shape[1])
        same = (self._ids[:, :steps] == ids[:, :steps]).all(dim=2).all(dim=0)  # [steps]
        return int(same.cumprod(0).sum())

    @property
    def behind(self) -> int:
        """Steps that were fed and not yet computed, those of an open prefix aside, which wait for its end."""
        return 0 if self._prefix is None else self._length - self.cache.length

    def _catch_up(self, most: int | None = None) -> None:
        """Compute what was fed, or at most so many steps of it."""
        if self.behind:
            stop = self._length if most is None else min(self._length, self.cache.length + most)
            for part in self._ids[:, self.cache.length : stop].split(CHUNK, dim=1):
                self._extend(part)

    @torch.inference_mode()
    def _extend(self, ids: Tensor, visible: bool = False) -> None:
        states = self.model.extend(ids, self.cache, visible) if visible else self.step(ids, self.cache)
        self._state = states[:, -1]


@torch.inference_mode()
def catch_up(streams: Iterable[Stream], most: int | None = None, first: Stream | None = None) -> None:
    """Compute what was fed to streams of one model; the few steps of many are taken together, and weights read once.

    most: of those with more, only so many steps of `first`, where it is one, and of the one among the others that is
    soonest done
    """
    late = [stream for stream in streams if stream.behind]
    few = [
        one for one in late
        if one.behind <= FEW and isinstance(one.step, Together) and one.step.takes(one.cache, one.behind)
    ]  # fmt: skip
    if len(few) > 1:
        step, counts = few[0].step, [one.behind for one in few]
        assert isinstance(step, Together)
        ids = torch.cat([one._ids[0, one.cache.length : one._length] for one in few])  # [rows, channels]
        states = step.together(ids, [one.cache for one, count in zip(few, counts, strict=True) for _ in range(count)])
        for one, rows in zip(few, states.split(counts), strict=True):   # each [count, d_model]
            one._state = rows[-1:]
    elif few:
        few[0]._catch_up()
    rest = sorted((stream for stream in late if stream.behind and stream is not first), key=lambda one: one.behind)
    for one in rest if most is None else rest[:1]:
        one._catch_up(most)
    if first is not None:
        first._catch_up(most)
