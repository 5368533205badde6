import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.model.config import ModelConfig
from omni.model.init import CHUNK, draw
from omni.model.transformer import OmniTransformer


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_part_is_that_of_the_whole(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 200) | st.integers(CHUNK - 20, CHUNK + 40), "total")
    start = data.draw(st.integers(0, total) | st.integers(max(0, total - 40), total), "start")
    stop = data.draw(st.integers(start, total), "stop")
    whole, part = torch.empty(total), torch.empty(stop - start)
    draw(whole, 0, "blocks.0.matrix", (0.5, 0.02), 7)
    draw(part, start, "blocks.0.matrix", (0.5, 0.02), 7)
    assert torch.equal(part, whole[start:stop])


def test_names_seeds_and_chunks_draw_different_numbers_of_the_asked_distribution() -> None:
    drawn = []
    for name, seed in (("one", 0), ("two", 0), ("one", 1)):
        drawn.append(torch.empty(2 * CHUNK))
        draw(drawn[-1], 0, name, (0.0, 0.02), seed)
    pieces = torch.stack(drawn).view(-1, CHUNK)
    correlations = torch.corrcoef(pieces)
    assert float((correlations - torch.eye(len(pieces))).abs().max()) < 0.005
    assert torch.allclose(pieces.std(dim=1), torch.tensor(0.02), rtol=0.01)
    assert float(pieces.mean(dim=1).abs().max()) < 1e-4


def test_deviations_are_those_of_gpt2() -> None:
    config = ModelConfig(d_model=128, n_layers=8, n_heads=4, n_kv_heads=4, d_ff=256, vocab_size=300, qkv_bias=True)
    torch.manual_seed(3)
    model = OmniTransformer(config)
    for name, parameter in model.named_parameters():
        values, writes = parameter.detach(), name.endswith(("attention.out.weight", "feed_forward.down.weight"))
        if "norm" in name:
            assert bool((values == 1).all())
        elif name.endswith("bias"):
            assert not values.any()
        else:
            assert abs(float(values.std()) / (0.02 / 4 if writes else 0.02) - 1) < 0.03, name
    torch.manual_seed(3)
    again = OmniTransformer(config)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(model.table, OmniTransformer(config).table)
