"""How many conversations a device can hold in real time: what a step must read and compute, against what it can.

A step of B conversations reads all weights once and the keys and values of every conversation, and computes B times a
step's FLOPs; the slower of the two decides (the roofline of Williams et al. 2009). An answer needs `frame_rate` steps a
second, one a frame (layouts delay and depth) or one a code (flat). The codec and turn detection are not in it.
"""

from dataclasses import dataclass

from omni.model.config import ModelConfig
from omni.train.plan.hardware import Hardware

READS = 0.8                                                             # of a memory's bandwidth that kernels reach


@dataclass(frozen=True)
class Serving:
    """A model on a device. context: steps of past a conversation has; steps: of the model a second of speech."""

    config: ModelConfig
    device: Hardware
    context: int
    steps: float
    bytes_each: int                                                     # of a weight, a key and a value

    @property
    def weights(self) -> float:
        """Bytes that every step reads."""
        return self.bytes_each * sum(self.config.parameters().values())

    @property
    def past(self) -> float:
        """Bytes of keys and values of one conversation."""
        c = self.config
        return 2.0 * self.bytes_each * c.n_layers * c.n_kv_heads * c.head_dim * self.context

    def seconds(self, conversations: int) -> float:
        """Of one step for so many conversations at once."""
        reading = (self.weights + conversations * self.past) / (READS * self.device.bandwidth)
        computing = conversations * self.config.flops_per_step(self.context) / 3
        return max(reading, computing / (self.device.achievable * self.device.flops))

    @property
    def one_by_one(self) -> int:
        """Conversations at once where each has its steps to itself, as `omni serve` takes them."""
        return min(int(1 / (self.steps * self.seconds(1))), self.fitting)

    @property
    def batched(self) -> int:
        """Conversations at once where a step is taken for all of them."""
        low, high = 0, max(0, self.fitting)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.seconds(middle) * self.steps <= 1 else (low, middle - 1)
        return low

    @property
    def fitting(self) -> int:
        """Conversations whose past the memory holds beside the weights."""
        return max(0, int((self.device.usable - self.weights) / self.past))
