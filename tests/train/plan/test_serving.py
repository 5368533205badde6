"""The plan of serving against what it is made of."""

import json
from dataclasses import replace

import pytest

from omni.cli import main
from omni.commands.plan import _usual_vocabulary
from omni.model.binary import pack_state
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.train.plan.hardware import hardware
from omni.train.plan.serving import READS, SPOKEN, Serving


def serving(name: str, gpu: str = "h100", steps: float = 25.0, beside: float = 0.0) -> Serving:
    config = ModelConfig.preset(name).for_vocabulary(_usual_vocabulary())
    return Serving(config, hardware(gpu), 2048, steps, 2, beside)


def test_a_step_of_one_conversation_waits_for_the_weights() -> None:
    one = serving("7b")
    assert one.seconds(1) == pytest.approx((one.weights + one.past) / (READS * one.device.bandwidth))
    assert one.weights > 2 * 6e9


@pytest.mark.parametrize("beside", [0.0, 0.01])
@pytest.mark.parametrize("name", ["small", "1b", "7b"])
def test_batching_holds_as_many_as_real_time_and_memory_allow(name: str, beside: float) -> None:
    plan = serving(name, beside=beside)
    assert plan.sessions <= plan.fitting

    def share(count: int) -> float:
        return plan.seconds(count) * plan.steps + count * beside

    assert share(plan.sessions) <= SPOKEN
    assert plan.sessions == plan.fitting or share(plan.sessions + 1) > SPOKEN
    if beside:
        assert plan.sessions <= SPOKEN / beside


def test_the_command_tells_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    for gpu in ("h100", "cpu"):
        assert main(["plan", "serve", "mini", "--gpu", gpu, "--beside", "0.05", "--json"]) == 0
        table = capsys.readouterr().out.splitlines()
        told = {name: one["value"] for name, one in json.loads(table[-1])["figures"].items()}
        assert f"on {gpu}" in table[-2] and 0 < told["sessions"] <= SPOKEN / 0.05
    assert main(["plan", "serve", "mini", "--beside", "2"]) == 2


def test_one_bit_weights_are_an_eighth_of_a_byte_where_the_kernel_reads_them() -> None:
    """A model with eight weights a byte is as many bytes, but for norms."""
    config = replace(ModelConfig.preset("tiny").for_vocabulary(_usual_vocabulary()), weight_bits=1, inner_norms=True)
    packed = sum(tensor.nbytes for tensor in pack_state(OmniTransformer(config)).values())
    on_cpu, on_gpu = (Serving(config, hardware(gpu), 2048, 25.0, 4).weights for gpu in ("cpu", "h100"))
    assert on_cpu == pytest.approx(packed, rel=0.01) and on_gpu == 4 * sum(config.parameters().values())


def test_what_does_not_fit_holds_nobody() -> None:
    assert serving("70b").fitting == serving("70b").sessions == 0
