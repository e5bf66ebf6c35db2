"""What a sequence of a model will take, told from config.json before the model is loaded, or even fetched.

Loading measures it (`memory.row_cost`). A test builds each type that stands here with mlx-lm and compares the two.
"""

from __future__ import annotations

from typing import Any

from mlx_sidecar.engine.memory import RowCost
from mlx_sidecar.errors import ModelInvalid, ModelUnsupported

_STATED_HEAD_SIZE = frozenset(
    (
        *(
            "ernie4_5",
            "gemma",
            "gemma2",
            "gemma3",
            "gemma3_text",
            "glm",
            "glm4",
            "gpt_oss",
            "hunyuan_v1_dense",
            "llama",
        ),
        *("mistral", "nemotron", "olmo2", "olmo3", "olmoe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "telechat3"),
    )
)
"""Model types whose heads have `head_dim` numbers where config.json states it; of the others mlx-lm never reads it."""

_SHARED_HEAD_SIZE = frozenset(
    (
        *("cohere", "cohere2", "granite", "granitemoe", "internlm2", "internlm3", "mimo", "mixtral", "phi"),
        *("phi3", "phimoe", "qwen2", "qwen2_moe", "starcoder2"),
    )
)
"""Those whose heads share out `hidden_size`."""

KNOWN = _STATED_HEAD_SIZE | _SHARED_HEAD_SIZE

_DEFAULTS: dict[str, dict[str, int]] = {
    "gemma3": {
        **{"hidden_size": 1152, "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1},
        **{"head_dim": 256, "sliding_window": 512, "sliding_window_pattern": 6},
    },
    "cohere2": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "gpt_oss": {"sliding_window": 128},
}
_DEFAULTS["gemma3_text"] = _DEFAULTS["gemma3"]
"""mlx-lm's own, which real config.json files leave out."""

_EVERY_NTH_SEES_ALL = frozenset({"gemma3", "gemma3_text", "cohere2"})
_LAYER_TYPES = frozenset({"gpt_oss", "llama", "mistral", "olmo3"})
_MOST = 2**31


def cost_of(config: dict[str, Any], number_bytes: int) -> RowCost:
    """For caches of numbers of so many bytes. Raises ModelUnsupported, or ModelInvalid where numbers can't be right."""
    model_type = str(config.get("model_type"))
    if model_type not in KNOWN:
        raise ModelUnsupported(
            f"what a sequence takes with a '{model_type[:100]}' can't be told beforehand; load-model measures it",
            {"model_type": model_type[:100]},
        )
    inner = config.get("text_config")
    settings = {**_DEFAULTS.get(model_type, {}), **(inner if isinstance(inner, dict) else config)}
    heads = _count(settings, "num_attention_heads")
    kv_heads = _count(settings, "num_key_value_heads", heads)
    head_size = _count(settings, "hidden_size") // heads
    if model_type in _STATED_HEAD_SIZE:
        head_size = _count(settings, "head_dim", head_size)
    token_bytes = 2 * kv_heads * head_size * number_bytes
    per_token: dict[int, int] = {}
    for window in _windows(model_type, settings):
        per_token[window] = per_token.get(window, 0) + token_bytes
    return RowCost(per_token, 0)


def _windows(model_type: str, settings: dict[str, Any]) -> list[int]:
    """How many tokens each layer looks back, 0 for all."""
    layers = _count(settings, "num_hidden_layers")
    if layers > 1024:
        raise ModelInvalid(f"config.json can't be right: num_hidden_layers is {layers}", {"file": "config.json"})
    if model_type in _EVERY_NTH_SEES_ALL:
        window, nth = _count(settings, "sliding_window"), _count(settings, "sliding_window_pattern")
        return [0 if layer % nth == nth - 1 else window for layer in range(layers)]
    kinds = settings.get("layer_types") if model_type in _LAYER_TYPES else None
    if kinds is None:
        kinds = _kinds_by_default(model_type, layers)
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise ModelInvalid("config.json has no layer_types for each of its layers", {"file": "config.json"})
    return [_count(settings, "sliding_window") if kind == "sliding_attention" else 0 for kind in kinds]


def _kinds_by_default(model_type: str, layers: int) -> list[str]:
    nth = {"gpt_oss": 2, "olmo3": 4}.get(model_type, 1)
    return ["full_attention" if layer % nth == nth - 1 else "sliding_attention" for layer in range(layers)]


def _count(settings: dict[str, Any], name: str, default: int | None = None) -> int:
    found = settings.get(name)
    if found is None:
        found = default
    if type(found) is not int or not 0 < found < _MOST:
        raise ModelInvalid(f"config.json states no {name} that can be right", {"file": "config.json"})
    return found
