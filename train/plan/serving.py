"""How many conversations a device can hold in real time: what a step must read and compute, against what it can.

A step of B conversations reads all weights once and the keys and values of every conversation, and computes B times a
step's FLOPs; the slower of the two decides (the roofline of Williams et al. 2009). An answer needs `frame_rate` steps a
second, one a frame (layouts delay and depth) or one a code (flat). Codec, sampling and turn detection are in it only as
the share of time that is given for them: it is a bound of what can be, not what was measured.
"""

from dataclasses import dataclass

from omni.model.config import ModelConfig
from omni.train.plan.hardware import Hardware

READS = 0.8                                                             # of a memory's bandwidth that kernels reach
SPOKEN = 0.6                                                            # of the time, as in omni.live.model.pace


@dataclass(frozen=True)
class Serving:
    """A model on a device.

    context: steps of past a conversation has; steps: of the model a second of speech; beside: share of real time that
    each conversation takes beside them
    """

    config: ModelConfig
    device: Hardware
    context: int
    steps: float
    bytes_each: int                                                     # of a weight, a key and a value
    beside: float = 0.0

    @property
    def weights(self) -> float:
        """Bytes that every step reads; eight one-bit weights a byte where the kernel reads them, on a CPU."""
        parts = self.config.parameters()
        packed = parts["blocks"] if self.config.weight_bits == 1 and self.device.name == "cpu" else 0
        return self.bytes_each * (sum(parts.values()) - packed) + packed / 8

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
    def sessions(self) -> int:
        """Conversations at once, for all of which a step is taken together, as `omni serve` does."""
        low, high = 0, max(0, self.fitting)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.seconds(middle) * self.steps + middle * self.beside <= SPOKEN
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    @property
    def fitting(self) -> int:
        """Conversations whose past the memory holds beside the weights."""
        return max(0, int((self.device.usable - self.weights) / self.past))
