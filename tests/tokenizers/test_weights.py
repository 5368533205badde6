import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from omni.tokenizers import weights
from omni.tokenizers.weights import fingerprint, load_weights, read_config, round_to_half, save_weights


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), rounded=st.booleans(), scale=st.sampled_from([1e-7, 1.0, 1e6]))
def test_weights_come_back_as_they_were_saved(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rounded: bool, scale: float
) -> None:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(seed)
    module, other = nn.Linear(7, 5), nn.Linear(7, 5)
    nn.init.normal_(module.weight, std=scale)
    if rounded and scale < 1e5:
        round_to_half(module)
    save_weights(folder, "kind", {}, module)
    config, expected = read_config(folder, "kind", "thing", "it")
    load_weights(folder, other, config, expected, "thing")
    assert fingerprint(config, other) == fingerprint(config, module)
    assert torch.equal(other.weight, module.weight)
    stored = load_file(folder / weights.WEIGHTS)["weight"].dtype
    assert stored == (torch.float16 if torch.equal(module.weight.half().float(), module.weight) else torch.float32)
    assert stored == torch.float16 or not rounded or scale > 1e5
