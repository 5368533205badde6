"""Steps of several conversations in one pass over slots, against the model's own way; recording it needs a GPU."""

import gc
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.decode import slots
from omni.decode.slots import SlotStep
from omni.decode.step import fast_step, halve
from omni.decode.stream import Stream, catch_up
from omni.model.cache import Cache
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.vocab import Vocabulary

SHAPE = ModelConfig(d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=52, max_steps=64, rope_theta=100.0)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def short_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16, 32 and 64 steps, so that a short past goes through all of them."""
    monkeypatch.setattr(slots, "SHORTEST", 16)


def built(config: ModelConfig = SHAPE, layout: str = "delay") -> OmniTransformer:
    torch.manual_seed(0)
    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    model = OmniTransformer(config.for_vocabulary(vocab)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model.to(DEVICE)


def said(model: OmniTransformer, steps: int) -> torch.Tensor:
    return torch.randint(1, model.config.vocab_size, (1, steps, model.config.channels), device=DEVICE)


@torch.no_grad()
@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from([48, 64])), min_size=1, max_size=6),
    st.sampled_from([1, 2, 4]), st.booleans(), st.sampled_from(["flat", "delay", "depth"]), st.booleans(),
)  # fmt: skip
def test_steps_of_many_taken_together_are_those_of_the_model(
    talks: list[tuple[int, int, int]], n_kv_heads: int, qk_norm: bool, layout: str, bias: bool
) -> None:
    """Talks of any lengths, (heard before, steps to take, room), more rows than one pass has among them."""
    talks = [(min(before, room - steps), steps, room) for before, steps, room in talks]
    model = built(replace(SHAPE, n_kv_heads=n_kv_heads, qk_norm=qk_norm, qkv_bias=bias), layout)
    step = SlotStep(model, len(talks))
    parts, plain, shared = [], [], []
    for before, steps, room in talks:
        ids = said(model, before + steps)
        plain.append(model.extend(ids, Cache.empty(model.config, 1, room, model.table))[0, before:])
        shared.append(step.empty(1, room))
        if before:
            model.extend(ids[:, :before], shared[-1])
        parts.append(ids[0, before:])
    named = [cache for cache, (_, steps, _) in zip(shared, talks, strict=True) for _ in range(steps)]
    assert all(step.takes(cache, steps) for cache, (_, steps, _) in zip(shared, talks, strict=True))
    torch.testing.assert_close(step.together(torch.cat(parts), named), torch.cat(plain), rtol=1e-3, atol=1e-4)
    assert [cache.length for cache in shared] == [before + steps for before, steps, _ in talks]


@torch.no_grad()
def test_single_steps_go_on_where_the_model_ended_and_the_other_way_round() -> None:
    model = built()
    step, ids = SlotStep(model, 1), said(model, 60)
    cache = step.empty(1, 64)
    found = [step(ids[:, :40], cache)]                                  # too many for a pass
    found += [step(one, cache) for one in ids[:, 40:50].split(1, dim=1)]
    cache.rewind(45)
    found.append(step(ids[:, 45:60], cache)[:, 5:])
    expected = model.extend(ids, Cache.empty(model.config, 1, 64, model.table))
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_slot_is_given_again_when_its_conversation_is_gone() -> None:
    model = built()
    step = SlotStep(model, 2)
    first, second, third = (step.empty(1, 64) for _ in range(3))
    assert step.takes(first, 1) and step.takes(second, 1) and not step.takes(third, 1)
    batch = step.empty(3, 64)
    assert not step.takes(batch, 1) and len(batch.padding) == 3
    ids = said(model, 5)
    states = step(ids, third)                                           # without a slot the model's own way
    model.extend(said(model, 60), first)                                # what is left in the slot is nobody's
    del first
    gc.collect()
    fourth = step.empty(1, 8)
    assert step.takes(fourth, 8) and not step.takes(fourth, 9) and fourth.keys[0].shape[2] == fourth.max_steps == 8
    torch.testing.assert_close(step(ids, fourth), states, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="do not fit the cache of 8"):
        step(ids, fourth)


@torch.no_grad()
def test_streams_that_are_behind_are_caught_up_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built()
    step, passed = SlotStep(model, 3), list[int]()
    own = step.together
    monkeypatch.setattr(step, "together", lambda ids, caches: passed.append(len(ids)) or own(ids, caches))
    streams = [Stream(model, max_steps=64, step=step) for _ in range(3)]
    alone = [Stream(model, max_steps=64) for _ in range(3)]
    for number, pair in enumerate(zip(streams, alone, strict=True), start=1):
        ids = said(model, number)
        for stream in pair:
            stream.feed(ids)
    catch_up(streams)
    assert passed == [1 + 2 + 3]
    for ours, theirs in zip(streams, alone, strict=True):
        torch.testing.assert_close(ours.state(), theirs.state(), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_weights_that_bf16_can_say_are_halved_and_no_others() -> None:
    model = built()
    halve(model)
    assert model.table.dtype == torch.float32
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = said(model, 20)
    exact = model.extend(ids, Cache.empty(model.config, 1, 64, model.table))
    halve(model)
    assert all(torch.equal(tensor.float(), before[name]) for name, tensor in model.state_dict().items())
    step = SlotStep(model, 1)
    cache = step.empty(1, 64)
    states = torch.cat([step(one, cache) for one in ids.split(1, dim=1)], dim=1)
    assert states.dtype == torch.bfloat16
    torch.testing.assert_close(
        states, model.extend(ids, Cache.empty(model.config, 1, 64, model.table)), rtol=0.1, atol=0.1
    )
    near = torch.nn.functional.cosine_similarity(states.float(), exact, dim=-1)
    assert near.min() > 0.98


@torch.no_grad()
def test_passes_of_all_sizes_are_ready_when_asked_for_and_may_be_written_in_any_mode() -> None:
    step = SlotStep(model := built(), 2)
    step.ready()
    assert {*step._passes} == {(rows, steps) for rows in slots.ROWS for steps in (16, 32, 64)}
    assert step.nbytes == 3 * Cache.size(model.config, 64, model.table)
    cache = step.empty(1, 64)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            step(said(model, 1), cache)
    assert cache.length == 2


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("half", [False, True])
@torch.no_grad()
def test_a_gpu_replays_what_it_recorded(half: bool) -> None:
    """Sizes in turn, each the model's own states."""
    model = built(replace(SHAPE, head_size=64))
    if half:
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
    step = fast_step(model)
    assert isinstance(step, SlotStep)
    step.ready()
    assert all(one.recorded is not None for one in step._passes.values())
    cache, plain, near = step.empty(1, 64), Cache.empty(model.config, 1, 64, model.table), 0.1 if half else 1e-3
    for steps in (1, 5, 1, 12, 1, 20, 2):
        ids = said(model, steps)
        torch.testing.assert_close(step(ids, cache), model.extend(ids, plain), rtol=near, atol=near)
