import copy

import pytest
import torch
from torch import Tensor

from omni.tokenizers.audio.blocks import CausalStack


def stack(halved: bool, width: int = 40, seed: int = 0) -> CausalStack:
    """Whose matrices float16 can say, or not."""
    torch.manual_seed(seed)
    made = CausalStack(depth=3, width=width, kernel=5)
    if halved:
        for weight in made.parameters():
            weight.data = weight.data.half().float()
    return made


def streamed(made: CausalStack, x: Tensor, chunk: int) -> Tensor:
    """As a stream's few steps are computed."""
    states, given = made.start(1), []
    with torch.no_grad():
        for part in x.split(chunk, dim=1):
            y, states = made(part, states)
            given.append(y)
    return torch.cat(given, dim=1)


def whole(made: CausalStack, x: Tensor) -> Tensor:
    """By torch's own operations, which a graph makes necessary."""
    return made(x, made.start(1))[0].detach()


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("width", [40, 24, 20])                         # 20 is no whole number of eights
@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_few_steps_are_those_of_the_whole(halved: bool, width: int, chunk: int) -> None:
    made, x = stack(halved, width), torch.randn(1, 17, width)
    torch.testing.assert_close(streamed(made, x, chunk), whole(made, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("halved", [False, True])
def test_weights_that_change_are_read_anew(halved: bool) -> None:
    made, x = stack(halved), torch.randn(1, 6, 40)
    first = streamed(made, x, 2)
    with torch.no_grad():
        made.blocks[1].up.weight.mul_(1.01)                             # no float16 any more, and in place
    changed = streamed(made, x, 2)
    assert not torch.equal(changed, first)
    torch.testing.assert_close(changed, whole(made, x), rtol=1e-4, atol=1e-5)
    made.load_state_dict(stack(True, seed=1).state_dict())
    torch.testing.assert_close(streamed(made, x, 2), whole(made, x), rtol=1e-4, atol=1e-5)
    other = copy.deepcopy(made)
    for weight in made.parameters():
        weight.data = torch.zeros_like(weight)                          # the copy has weights of its own
    torch.testing.assert_close(streamed(other, x, 2), whole(other, x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(streamed(made, x, 2), x)
