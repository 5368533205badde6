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
    for is the prefix; it is held back until then.
    """

    def __init__(
        self, model: OmniTransformer, batch: int = 1, max_steps: int | None = None, step: Step | None = None
    ) -> None:
        """max_steps: the most that will be fed (default: the model's limit); step: a faster way to feed one step."""
        self.model = model
        self.cache = Cache.empty(model.config, batch, max_steps or model.config.max_steps, model.table)
        self.step = step or model.extend
        self._held: list[Tensor] = []
        self._prefix_open = model.config.prefix
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
        return self.cache.length + sum(ids.shape[1] for ids in self._held)

    @property
    def batch(self) -> int:
        return len(self.cache.padding)

    @property
    def room(self) -> int:
        """Steps that can still be fed."""
        return self.cache.max_steps - len(self)

    def feed(self, ids: Tensor | np.ndarray) -> None:
        """Add steps [batch, steps, channels] to the past. Raises ValueError when they do not fit."""
        ids = torch.as_tensor(ids, device=self.model.table.device)
        if ids.shape[1] > self.room:
            raise ValueError(f"{ids.shape[1]} steps do not fit the room of {self.room}")
        if self._prefix_open:
            self._held.append(ids)
            return
        for part in ids.split(CHUNK, dim=1):
            self._extend(part)

    def state(self) -> Tensor:
        """What predicts the next step: [batch, d_model]. Raises ValueError when nothing was fed."""
        if self._held:
            prefix = torch.cat(self._held, dim=1)
            self._held, self._prefix_open = [], False
            self._extend(prefix, visible=True)
        if self._state is None:
            raise ValueError("nothing was fed, so nothing can be predicted")
        return self._state

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows [n] of the batch only."""
        self.cache = self.cache.rows(rows)
        self._state = None if self._state is None else self._state[rows]
        self._held = [ids[rows] for ids in self._held]

    @torch.inference_mode()
    def _extend(self, ids: Tensor, visible: bool = False) -> None:
        if ids.shape[1] == 1 and not visible:
            self._state = self.step(ids, self.cache)[:, -1]
        elif ids.shape[1]:
            self._state = self.model.extend(ids, self.cache, visible)[:, -1]
