from dataclasses import replace

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from omni.model.attention import Rope, rotate
from omni.model.config import ModelConfig
from omni.model.interop import from_hugging_face, hugging_face_twin, to_hugging_face
from omni.model.transformer import Batch, OmniTransformer
from omni.vocab import Vocabulary

SHAPE = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, max_steps=64, vocab_size=50)


def built(config: ModelConfig) -> OmniTransformer:
    torch.manual_seed(0)
    model = OmniTransformer(config).eval()
    for parameter in model.parameters():                                # norms too, so that a mix-up shows
        torch.nn.init.normal_(parameter, mean=0.1, std=0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_the_same_weights_give_llama_and_qwen3_the_same_logits(qk_norm: bool, tied: bool) -> None:
    model = built(replace(SHAPE, qk_norm=qk_norm, tie_embeddings=tied, rope_theta=500.0))
    ids = torch.randint(50, (2, 40))
    document = torch.ones_like(ids)
    ours = model.logits(model.hidden(Batch(ids[..., None], document > 0, document, document < 0)))
    twin = hugging_face_twin(model)
    assert type(twin).__name__ == ("Qwen3ForCausalLM" if qk_norm else "LlamaForCausalLM")
    torch.testing.assert_close(ours, twin(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_weights_come_back_from_hugging_faces_names(qk_norm: bool, tied: bool) -> None:
    config = replace(SHAPE, qk_norm=qk_norm, tie_embeddings=tied)
    weights = built(config).state_dict()
    back = from_hugging_face(to_hugging_face(weights, config), config)
    assert back.keys() == weights.keys() and all(torch.equal(back[name], weights[name]) for name in weights)


def test_a_model_with_channel_heads_has_no_twin() -> None:
    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout="delay")
    model = OmniTransformer(SHAPE.for_vocabulary(vocab))
    with pytest.raises(ValueError, match="3 channels"):
        to_hugging_face(model.state_dict(), model.config)


def test_rope_turns_as_in_transformers() -> None:
    positions = torch.tensor([[0, 1, 5, 63], [2, 2, 40, 7]])
    q, k = torch.randn(2, 4, 4, 8), torch.randn(2, 2, 4, 8)
    twin = hugging_face_twin(built(SHAPE)).config
    cos, sin = LlamaRotaryEmbedding(twin)(q, positions)
    rope = Rope(SHAPE.head_dim, SHAPE.max_steps, SHAPE.rope_theta)(positions)
    for ours, theirs in zip((rotate(q, rope), rotate(k, rope)), apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
