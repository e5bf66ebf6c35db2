"""What the worker uses of mlx_lm: public names, with the parameters that it passes by position or by name.

`unit/test_mlx_lm_surface.py` holds the installed mlx_lm to this list, and the package's imports to it: a name that
isn't here isn't used.
"""

from __future__ import annotations

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "mlx_lm.models.cache:make_prompt_cache": ("model",),
    "mlx_lm.models.cache:can_trim_prompt_cache": ("cache",),
    "mlx_lm.models.cache:trim_prompt_cache": ("cache", "num_tokens"),
    "mlx_lm.sample_utils:apply_top_p": ("logprobs", "top_p"),
    "mlx_lm.sample_utils:apply_min_p": ("logprobs", "min_p"),
    "mlx_lm.sample_utils:apply_top_k": ("logprobs", "top_k"),
    "mlx_lm.sample_utils:make_repetition_penalty": ("penalty", "context_size"),
    "mlx_lm.utils:load_model": ("model_path", "lazy"),
    "mlx_lm.utils:load_adapters": ("model", "adapter_path"),
    "mlx_lm.utils:get_total_parameters": ("model",),
}

VALUES = ("mlx_lm.utils:MODEL_REMAPPING",)

_LAYER = ("merge", "is_trimmable", "trim", "empty", "nbytes", "state")
_BATCH_LAYER = ("extract", "filter", "extend", "prepare", "finalize", "state", "nbytes")

CLASSES: dict[str, tuple[str, ...]] = {
    "mlx_lm.models.cache:KVCache": _LAYER,
    "mlx_lm.models.cache:RotatingKVCache": _LAYER,
    "mlx_lm.models.cache:ArraysCache": (
        "merge",
        "extract",
        "filter",
        "extend",
        "prepare",
        "finalize",
        "state",
        "nbytes",
    ),
    "mlx_lm.models.cache:CacheList": (*_LAYER, "extract", "filter", "extend", "prepare", "finalize"),
    "mlx_lm.models.cache:BatchKVCache": _BATCH_LAYER,
    "mlx_lm.models.cache:BatchRotatingKVCache": _BATCH_LAYER,
    "mlx_lm.models.cache:TokenBuffer": ("update_and_fetch",),
}
"""Classes of caches, with their public members: a layer's own, and those that `merge` makes of several."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "mlx_lm.models.cache:KVCache": ("keys", "values", "offset"),
    "mlx_lm.models.cache:ArraysCache": ("cache",),
    "mlx_lm.models.cache:CacheList": ("caches",),
}
"""What the worker reads and writes of the instances."""
