"""What a sequence takes by config.json is what it takes once the model is there."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from mlx_sidecar.engine.cache_cost import KNOWN, cost_of
from mlx_sidecar.engine.memory import row_cost
from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.errors import ModelInvalid, ModelUnsupported

import_mlx_lm()
FLOAT32_BYTES = 4
COMMON: dict[str, Any] = {
    **{"vocab_size": 64, "hidden_size": 96, "num_hidden_layers": 6, "intermediate_size": 128, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-6, "norm_eps": 1e-6, "layer_norm_eps": 1e-6},
    **{"layer_norm_epsilon": 1e-6, "norm_epsilon": 1e-6, "rope_theta": 1e4, "max_position_embeddings": 512},
    **{"tie_word_embeddings": True, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 32, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True},
    **{"shared_expert_intermediate_size": 32, "attention_bias": False, "mlp_bias": False, "sliding_window": 24},
    **{"logits_scaling": 1.0, "attention_multiplier": 1.0, "embedding_multiplier": 1.0, "residual_multiplier": 1.0},
    **{"logit_scale": 1.0, "query_pre_attn_scalar": 16, "partial_rotary_factor": 0.5, "hidden_act": "silu"},
    **{"attention_dropout": 0.0, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "bias": False},
    **{"use_bias": False, "qkv_bias": False},
}
MIXED = ["sliding_attention", "full_attention", "full_attention"] * 2


def measured(config: dict[str, Any]) -> tuple[dict[int, int], int]:
    """By mlx-lm's network, whose weights nobody computes."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import MODEL_REMAPPING

    name = MODEL_REMAPPING.get(config["model_type"], config["model_type"])
    module = importlib.import_module(f"mlx_lm.models.{name}")
    network = module.Model(module.ModelArgs.from_dict(config))
    cache = make_prompt_cache(network)
    network(mx.array([[0]]), cache=cache)
    cost = row_cost(cache)
    return cost.per_token, cost.fixed


def config_of(model_type: str) -> dict[str, Any]:
    """A small one with all fields that any of these types reads."""
    config = {**COMMON, "model_type": model_type}
    if model_type == "cohere2":
        return {**config, "head_dim": 24}
    if model_type == "gemma3":
        return {"model_type": model_type, "text_config": {**COMMON, "model_type": "gemma3_text"}, "vocab_size": 64}
    return config


@pytest.mark.parametrize("model_type", sorted(KNOWN))
def test_it_is_what_loading_measures(model_type: str) -> None:
    """For each type that is known, with its windows."""
    config = config_of(model_type)
    cost = cost_of(config, FLOAT32_BYTES)
    assert (cost.per_token, cost.fixed) == measured(config)


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt_oss", "olmo3"])
@pytest.mark.parametrize("kinds", [MIXED, MIXED[::-1]], ids=["first", "last"])
def test_layers_that_are_listed_have_their_windows(model_type: str, kinds: list[str]) -> None:
    """In any order."""
    config = {**COMMON, "model_type": model_type, "layer_types": kinds}
    cost = cost_of(config, FLOAT32_BYTES)
    assert (cost.per_token, cost.fixed) == measured(config)
    assert set(cost.per_token) == {0, 24}


def test_what_is_left_out_is_what_mlx_lm_takes() -> None:
    """Gemma's config.json states next to nothing."""
    assert cost_of({"model_type": "gemma3", "text_config": {}}, 2).per_token == {512: 22 * 1024, 0: 4 * 1024}
    for name in ("num_key_value_heads", "head_dim"):
        config = {each: value for each, value in config_of("llama").items() if each != name}
        assert cost_of(config, FLOAT32_BYTES).per_token == measured(config)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": "6"},
        {"num_attention_heads": 0},
        {"head_dim": 10**30},
        {"num_key_value_heads": -1},
        {"hidden_size": None},
        {"layer_types": ["full_attention"]},
        {"layer_types": "full"},
        {"layer_types": MIXED, "sliding_window": None},
    ],
    ids=str,
)
def test_numbers_that_can_not_be_right_are_refused(changes: dict[str, Any]) -> None:
    """In no time, however large they are."""
    with pytest.raises(ModelInvalid):
        cost_of({**config_of("llama"), **changes}, 2)


@pytest.mark.parametrize("model_type", ["mamba", "deepseek_v3", "x" * 10_000])
def test_a_type_that_is_not_known_is_not_guessed(model_type: str) -> None:
    """States and compressed caches are measured only."""
    with pytest.raises(ModelUnsupported, match="load-model measures it") as refused:
        cost_of({**COMMON, "model_type": model_type}, 2)
    assert len(refused.value.message) < 300
