import json
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from omni.errors import InputError
from omni.model.config import PRESETS, ModelConfig, RopeScaling
from omni.model.transformer import Batch, OmniTransformer
from omni.vocab import LAYOUTS, Vocabulary


def vocabulary(layout: str = "flat", codebooks: int = 2) -> Vocabulary:
    return Vocabulary(text=300, codebooks=codebooks, codebook_size=16, image=30, picture_tokens=4, layout=layout)


IMPORTED = {"head_size": 12, "qkv_bias": True, "rope_scaling": RopeScaling(8.0, 1.0, 4.0, 512)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False}, {"qk_norm": False}, {"n_kv_heads": 1}, IMPORTED])
def test_the_counted_parameters_are_those_of_the_built_model(layout: str, changes: dict[str, object]) -> None:
    shape = replace(ModelConfig(d_model=32, n_layers=3, n_heads=4, n_kv_heads=2, d_ff=48), **changes)
    config = shape.for_vocabulary(vocabulary(layout))
    built = sum(parameter.numel() for parameter in OmniTransformer(config).parameters())
    assert sum(config.parameters().values()) == built


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_counted_as_built(name: str) -> None:
    config = ModelConfig.preset(name).for_vocabulary(vocabulary())
    with torch.device("meta"):                                          # shapes without memory
        built = sum(parameter.numel() for parameter in OmniTransformer(config).parameters())
    assert sum(config.parameters().values()) == built


@pytest.mark.parametrize("context", [32, 256])
def test_flops_agree_with_a_counted_step(context: int) -> None:
    config = ModelConfig(d_model=64, n_layers=2, n_heads=4, n_kv_heads=4, d_ff=160, max_steps=256)
    config = config.for_vocabulary(vocabulary(codebooks=1))
    model = OmniTransformer(config)
    ids = torch.ones(1, context, 1, dtype=torch.long)
    trained = torch.ones(1, context, dtype=torch.bool)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(Batch(ids, trained, trained.long(), ~trained)).total.backward()
    # The attention counted is dense; a causal one does half of it, which is what the estimate says.
    dense = counter.get_total_flops() / context
    halved = dense - 12.0 * config.n_layers * config.d_model * context / 2
    assert config.flops_per_step(context) == pytest.approx(halved, rel=0.1)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"n_heads": 6, "d_model": 256}, "model.n_heads: 6 does not divide d_model=256; use one of 1, 2, 4, 8"),
        ({"n_heads": 3, "n_kv_heads": 3, "d_model": 7}, "model.d_model: 7 is odd"),
        ({"n_heads": 3, "n_kv_heads": 3, "d_model": 9}, "(RoPE); use a multiple of 6, twice n_heads"),
        ({"n_kv_heads": 3, "n_heads": 4, "d_model": 32}, "model.n_kv_heads: 3 does not divide n_heads=4"),
        ({"n_layers": 0}, "model.n_layers: must be positive, got 0"),
        ({"rope_theta": 0.0}, "model.rope_theta: must be positive, got 0.0"),
        ({"z_loss": -1.0}, "model.z_loss: must be at least 0, got -1.0"),
        ({"d_model": 12, "n_heads": 4, "n_kv_heads": 4}, "must be even"),
        ({"inner_norms": True, "head_size": 128}, "model.inner_norms: a way around attention's projection needs"),
    ],
)
def test_an_impossible_shape_is_named_with_its_mend(changes: dict[str, int], line: str) -> None:
    with pytest.raises(InputError) as error:
        replace(ModelConfig(), **changes)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_a_config_comes_back_from_its_dictionary_and_a_typo_is_named() -> None:
    for config in (ModelConfig.preset("small"), ModelConfig(**IMPORTED)):
        assert ModelConfig.parse(json.loads(json.dumps(config.as_dict())), "config.json") == config
    with pytest.raises(InputError, match=r"config.json.*d_modle"):
        ModelConfig.parse({"d_modle": 3}, "config.json")
    with pytest.raises(InputError, match="mini, tiny, small, 1b, 7b"):
        ModelConfig.preset("huge")
