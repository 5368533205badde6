"""The past of a conversation, fed in pieces of any size, and the state that predicts its next step."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from omni.decode.step import Step
from omni.model.cache import Cache
from omni.model.transformer import OmniTransformer

CHUNK = 512                                                             # steps fed at once, which bounds the mask


class Stream:
    """One conversation, or a batch of them that end together.

    `feed` any number of steps; `state` [batch, d_model] then predicts the step after them. However the steps are cut
    into calls, the state is the same. Of a model with a visible prefix, all that is fed before `state` is first asked
    for is the prefix; it is held back until then. `hear` makes the past another one, keeping what the two share.
    """

    def __init__(
        self, model: OmniTransformer, batch: int = 1, max_steps: int | None = None, step: Step | None = None
    ) -> None:
        """max_steps: the most that will be fed (default: the model's limit); step: a faster way to feed one step."""
        self.model = model
        self.cache = Cache.empty(model.config, batch, max_steps or model.config.max_steps, model.table)
        self.step = step or model.extend
        shape = batch, self.cache.max_steps, model.config.channels
        self._ids = torch.zeros(shape, dtype=torch.long, device=model.table.device)  # what was fed
        self._length = 0                                                # of it; the cache lags behind in an open prefix
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
        if self._prefix is not None:
            for part in ids.split(CHUNK, dim=1):
                self._extend(part)

    def hear(self, ids: Tensor | np.ndarray, prefix: int) -> int:
        """Make the past these steps [batch, steps, channels]: go back to where it differs from them and feed the rest.

        prefix: how many of them are the visible prefix, for a model that has one. Returns how many were fed. It does
        not matter what state an interrupted `feed` has left: only what the cache holds counts as past.
        """
        ids = torch.as_tensor(ids, device=self.model.table.device)
        kept = min(self._shared(ids), ids.shape[1] - 1)                 # the last step is fed for the state after it
        if self._prefix is None or kept < self._prefix:                 # a prefix is computed whole or not at all
            kept, self._prefix = 0, None if self.model.config.prefix else 0
        self.cache.rewind(kept)
        self._length = kept
        if self._prefix is None and prefix < ids.shape[1]:
            self.feed(ids[:, :prefix])
            self.state()                                                # closes the prefix
        self.feed(ids[:, len(self) :])
        return ids.shape[1] - kept

    def state(self) -> Tensor:
        """What predicts the next step: [batch, d_model]. Raises ValueError when nothing was fed."""
        if self._prefix is None and self._length:
            self._extend(self._ids[:, : self._length], visible=True)
            self._prefix = self._length
        if self._state is None:
            raise ValueError("nothing was fed, so nothing can be predicted")
        return self._state

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows [n] of the batch only."""
        self.cache = self.cache.rows(rows)
        self._state = None if self._state is None else self._state[rows]
        self._ids = self._ids[rows]

    def _shared(self, ids: Tensor) -> int:
        """How many leading steps the cache has of these [batch, steps, channels]."""
        steps = min(self.cache.length, ids.shape[1])
        same = (self._ids[:, :steps] == ids[:, :steps]).all(dim=2).all(dim=0)  # [steps]
        return int(same.cumprod(0).sum())

    @torch.inference_mode()
    def _extend(self, ids: Tensor, visible: bool = False) -> None:
        if ids.shape[1] == 1 and not visible:
            self._state = self.step(ids, self.cache)[:, -1]
        elif ids.shape[1]:
            self._state = self.model.extend(ids, self.cache, visible)[:, -1]
