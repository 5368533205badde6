"""The plan of serving against what it is made of."""

import pytest

from omni.commands.plan import _usual_vocabulary
from omni.model.config import ModelConfig
from omni.train.plan.hardware import hardware
from omni.train.plan.serving import READS, Serving


def serving(name: str, gpu: str = "h100", steps: float = 25.0) -> Serving:
    config = ModelConfig.preset(name).for_vocabulary(_usual_vocabulary())
    return Serving(config, hardware(gpu), 2048, steps, 2)


def test_a_step_of_one_conversation_waits_for_the_weights() -> None:
    one = serving("7b")
    assert one.seconds(1) == pytest.approx((one.weights + one.past) / (READS * one.device.bandwidth))
    assert one.weights > 2 * 6e9


@pytest.mark.parametrize("name", ["small", "1b", "7b"])
def test_batching_holds_as_many_as_real_time_and_memory_allow(name: str) -> None:
    plan = serving(name)
    assert plan.one_by_one <= plan.batched <= plan.fitting
    assert plan.seconds(plan.batched) * plan.steps <= 1
    assert plan.batched == plan.fitting or plan.seconds(plan.batched + 1) * plan.steps > 1


def test_what_does_not_fit_holds_nobody() -> None:
    assert serving("70b").fitting == serving("70b").batched == serving("70b").one_by_one == 0
