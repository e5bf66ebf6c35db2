"""Which network of mlx-lm a GGUF file holds: its config.json, and what its tensors are called there.

A table for each architecture that llama.cpp names. What isn't in it is refused by its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from mlx_sidecar.errors import ModelUnsupported
from mlx_sidecar.models.gguf.header import GGUFHeader, TensorInfo

Floats = Callable[[str], list[float]]
"""Reads a small tensor of 32-bit numbers."""

_MOST_LAYERS = 1024
_MOST_PARTS = 2**18

_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_ATTENTION = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_NORMED = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_DENSE = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_LLAMA = {**_ATTENTION, **_DENSE, "ffn_norm": "post_attention_layernorm"}
_GEMMA_2 = {
    **_ATTENTION,
    **_DENSE,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_LAYER = re.compile(r"blk\.(\d+)\.([a-z_]+)\.(weight|bias)")
_FREQUENCIES = ("rope_freqs.weight",)
_LONG_FACTORS = ("rope_factors_long.weight", "rope_factors_short.weight")


def _experts(block: str) -> dict[str, str]:
    """All experts of a layer lie in one tensor, and so they do in mlx-lm."""
    stacked = {f"ffn_{part}_exps": f"{block}.switch_mlp.{part}_proj" for part in ("gate", "up", "down")}
    return {**stacked, "ffn_gate_inp": f"{block}.gate"}


class _Keys:
    """The metadata of the architecture, for a config.json."""

    def __init__(self, header: GGUFHeader, tensors: Mapping[str, TensorInfo], floats: Floats) -> None:
        self.header, self.tensors, self.floats = header, tensors, floats
        self._prefix = header.architecture

    def maybe(self, key: str) -> int | None:
        """A whole number, or None."""
        return self.header.integer(f"{self._prefix}.{key}")

    def number(self, key: str, default: float) -> float:
        """A number; many keys are left out where they are the architecture's usual. Raises ModelInvalid for nan."""
        stated = self.header.number(f"{self._prefix}.{key}")
        if stated is not None and not math.isfinite(stated):
            self.header.refuse(f"has a '{self._prefix}.{key}' that is no number")
        return default if stated is None else float(stated)

    def positive(self, key: str, default: float) -> float:
        """The same, and more than 0."""
        stated = self.number(key, default)
        if stated <= 0:
            self.header.refuse(f"has a '{self._prefix}.{key}' that isn't above 0")
        return stated

    def is_array(self, key: str) -> bool:
        """Whether it is one of numbers."""
        return self.header.is_array(f"{self._prefix}.{key}")

    def text(self, key: str) -> str | None:
        """A string, or None."""
        return self.header.text(f"{self._prefix}.{key}")

    def count(self, key: str) -> int:
        """A whole number of at least 1. Raises ModelInvalid where it is missing."""
        stated = self.maybe(key)
        if stated is None or stated < 1:
            self.header.refuse(f"has no '{self._prefix}.{key}' of at least 1")
        return stated

    def has(self, tensor: str) -> bool:
        """Whether the file holds a tensor of this name."""
        return tensor in self.tensors

    def unsupported(self, what: str) -> ModelUnsupported:
        """To be raised where the architecture's usual form is left."""
        return ModelUnsupported(
            f"{self.header.name} is a '{self._prefix}' with {what}, which isn't read from GGUF; "
            "take a file of the model without it, or an MLX folder",
            {"file": self.header.file, "architecture": self._prefix},
        )


Settings = dict[str, Any]


class Architecture(Struct, frozen=True):
    """How one of llama.cpp's architectures is called and held in mlx-lm."""

    model_type: str
    layer: dict[str, str]
    more: Callable[[_Keys], Settings]
    """What its config.json has beside what all have."""
    interleaved: bool = False
    """llama.cpp's converter wrote the rows of q and k for a rotation of neighbours; mlx-lm rotates halves."""
    shifted_norms: bool = False
    """It also added 1 to the norms, which mlx-lm does when it computes."""
    wide: bool = False
    """Its values pass what float16 holds."""
    never_stretched: bool = False
    """mlx-lm takes a `rope_scaling` for it, and rotates as if there were none."""
    always_tied: bool = False
    settings: tuple[str, ...] = ()
    """Tensors that are no weights: `more` reads them."""
    outside: dict[str, str] = field(default_factory=lambda: _OUTSIDE)


def _plain(keys: _Keys) -> Settings:
    return {**_rope(keys), "head_dim": _head_dim(keys)}


def _head_dim(keys: _Keys) -> int:
    stated = keys.maybe("attention.key_length")
    size = stated or keys.count("embedding_length") // keys.count("attention.head_count")
    if size < 1:
        keys.header.refuse("has heads of no size")
    return size


def _rope(keys: _Keys) -> Settings:
    """The base of the rotation, and how it is stretched for a longer context."""
    whole = _head_dim(keys)
    if (rotated := keys.maybe("rope.dimension_count") or whole) != whole:
        raise keys.unsupported(f"a rotation of {rotated} of {whole} values")
    settings: Settings = {"rope_theta": keys.positive("rope.freq_base", 10_000.0)}
    # Files of 2023 call the factor rope.scale_linear; 0 stands for none.
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0)) or 1.0
    kind = keys.text("rope.scaling.type") or "linear"
    if factor < 0:
        keys.header.refuse("stretches its rotation by less than nothing")
    if keys.number("rope.scaling.attn_factor", 1.0) != 1:
        raise keys.unsupported("a rotation that changes lengths (rope.scaling.attn_factor)")
    if kind == "linear" and factor != 1:
        settings["rope_scaling"] = {"type": "linear", "rope_type": "linear", "factor": factor}
    elif kind == "yarn":
        settings["rope_scaling"] = {**_yarn(keys), "factor": factor}
    elif kind not in ("none", "linear"):
        raise keys.unsupported(f"the rope scaling '{kind[:100]}'")
    return settings


def _yarn(keys: _Keys) -> Settings:
    """What else mlx-lm has to know. llama.cpp's converter writes most of it for few models only."""
    # -1 stands for the usual.
    if abs(keys.number("rope.scaling.yarn_ext_factor", 1.0)) != 1:
        raise keys.unsupported("another mixture of its two rotations (rope.scaling.yarn_ext_factor)")
    if keys.number("rope.scaling.yarn_attn_factor", 1.0) != 1 or keys.number("rope.scaling.yarn_log_multiplier", 0.0):
        raise keys.unsupported("a rotation that changes lengths (rope.scaling.yarn_attn_factor, yarn_log_multiplier)")
    return {
        "type": "yarn",
        "original_max_position_embeddings": keys.count("rope.scaling.original_context_length"),
        "beta_fast": keys.positive("rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": keys.positive("rope.scaling.yarn_beta_slow", 1.0),
    }


def _llama(keys: _Keys) -> Settings:
    settings = {**_plain(keys), "rope_traditional": False}
    settings["attention_bias"] = keys.has("blk.0.attn_q.bias")
    settings["mlp_bias"] = keys.has("blk.0.ffn_gate.bias")
    if keys.has(*_FREQUENCIES):
        if "rope_scaling" in settings:
            raise keys.unsupported("a rotation that is stretched twice")
        settings["rope_scaling"] = _llama_3_scaling(keys, settings)
    return settings


def _llama_3_scaling(keys: _Keys, settings: Settings) -> Settings:
    """Llama 3.1's stretching, of which the file holds the result: what mlx-lm will compute must be the same."""
    factors = keys.floats(*_FREQUENCIES)
    dims, base = settings["head_dim"], settings["rope_theta"]
    scaling = {"factor": max(factors, default=1.0), "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    context = 8192
    if (
        len(factors) != dims // 2
        or not all(math.isfinite(each) and each >= 1 for each in factors)
        or any(
            abs(mine - theirs) > 1e-3 * theirs
            for mine, theirs in zip(_llama_3_factors(dims, base, context, **scaling), factors, strict=True)
        )
    ):
        raise keys.unsupported("factors of its rotation that aren't those of Llama 3.1")
    return {**scaling, "rope_type": "llama3", "original_max_position_embeddings": context}


def _llama_3_factors(
    dims: int, base: float, context: int, factor: float, low_freq_factor: float, high_freq_factor: float
) -> list[float]:
    made = []
    for place in range(0, dims, 2):
        turns = context / (2 * math.pi * base ** (place / dims))
        smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
        smooth = min(1.0, max(0.0, smooth))
        made.append(1 / ((1 - smooth) / factor + smooth))
    return made


def _mixtral(keys: _Keys) -> Settings:
    return {
        **_rope(keys),
        "num_local_experts": keys.count("expert_count"),
        "num_experts_per_tok": keys.count("expert_used_count"),
    }


def _qwen_3_moe(keys: _Keys) -> Settings:
    return {
        **_plain(keys),
        "num_experts": keys.count("expert_count"),
        "num_experts_per_tok": keys.count("expert_used_count"),
        "moe_intermediate_size": keys.count("expert_feed_forward_length"),
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
    }


def _gemma_2(keys: _Keys) -> Settings:
    return {
        **_plain(keys),
        "attn_logit_softcapping": keys.positive("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": keys.positive("final_logit_softcapping", 30.0),
        "query_pre_attn_scalar": _query_scalar(keys, 46),
    }


def _query_scalar(keys: _Keys, layers_of_27b: int) -> int:
    """The metadata doesn't say; only the models of 27 billion weights divide by another number than the head's size."""
    if keys.count("block_count") == layers_of_27b:
        return keys.count("embedding_length") // keys.count("attention.head_count")
    return _head_dim(keys)


def _gemma_3(keys: _Keys) -> Settings:
    if keys.number("final_logit_softcapping", 0.0):
        raise keys.unsupported("capped logits")
    window = keys.maybe("attention.sliding_window") or 0
    return {
        **_plain(keys),
        "rope_theta": keys.positive("rope.freq_base", 1_000_000.0),
        "rope_local_base_freq": keys.positive("rope.freq_base_swa", 10_000.0),
        "query_pre_attn_scalar": _query_scalar(keys, 62),
        "sliding_window": window or 1,
        "sliding_window_pattern": _gemma_3_pattern(keys) if window else 1,
    }


def _gemma_3_pattern(keys: _Keys) -> int:
    """Of so many layers the last one sees everything. A number in some files, a yes or no for each layer in others."""
    key = "attention.sliding_window_pattern"
    if not keys.is_array(key):
        return keys.maybe(key) or 6
    windows = [bool(each) for each in keys.header.numbers(f"gemma3.{key}") or ()]
    pattern = windows.index(False) + 1 if False in windows else len(windows) + 1
    if windows != [(layer + 1) % pattern != 0 for layer in range(len(windows))]:
        raise keys.unsupported("windows in an order of its own")
    return pattern


def _olmo_2(keys: _Keys) -> Settings:
    if keys.maybe("attention.sliding_window"):
        raise keys.unsupported("a sliding window")
    return _plain(keys)


def _phi_3(keys: _Keys) -> Settings:
    whole = _head_dim(keys)
    rotated = keys.maybe("rope.dimension_count") or whole
    settings: Settings = {
        "rope_theta": keys.positive("rope.freq_base", 10_000.0),
        "partial_rotary_factor": rotated / whole,
        "original_max_position_embeddings": keys.maybe("rope.scaling.original_context_length") or 4096,
    }
    if keys.has(_LONG_FACTORS[0]):
        long_factor, short_factor = map(keys.floats, _LONG_FACTORS)
        settings["rope_scaling"] = {"type": "longrope", "long_factor": long_factor, "short_factor": short_factor}
    elif keys.text("rope.scaling.type") == "yarn" or keys.number("rope.scaling.factor", 1.0) not in (0, 1):
        raise keys.unsupported("a stretched rotation")
    return settings


def _granite(keys: _Keys) -> Settings:
    return {
        **_llama(keys),
        "logits_scaling": keys.positive("logit_scale", 1.0),
        "attention_multiplier": keys.number("attention.scale", _head_dim(keys) ** -0.5),
        "embedding_multiplier": keys.number("embedding_scale", 1.0),
        "residual_multiplier": keys.number("residual_scale", 1.0),
    }


_MIXTRAL = Architecture(
    "mixtral",
    {**_ATTENTION, **_experts("block_sparse_moe"), "ffn_norm": "post_attention_layernorm"},
    _mixtral,
    interleaved=True,
    never_stretched=True,
)
_ARCHITECTURES = {
    "llama": Architecture("llama", _LLAMA, _llama, interleaved=True, settings=_FREQUENCIES),
    "granite": Architecture("granite", _LLAMA, _granite, interleaved=True, settings=_FREQUENCIES),
    "smollm3": Architecture("smollm3", _LLAMA, _llama, interleaved=True, settings=_FREQUENCIES),
    "qwen2": Architecture("qwen2", _LLAMA, _rope),
    "qwen3": Architecture("qwen3", {**_LLAMA, **_NORMED}, _plain),
    "qwen3moe": Architecture(
        "qwen3_moe",
        {**_ATTENTION, **_NORMED, **_experts("mlp"), "ffn_norm": "post_attention_layernorm"},
        _qwen_3_moe,
        never_stretched=True,
    ),
    "olmo2": Architecture(
        "olmo2",
        {
            **_ATTENTION,
            **_NORMED,
            **_DENSE,
            "post_attention_norm": "post_attention_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        },
        _olmo_2,
    ),
    "gemma": Architecture(
        "gemma", _LLAMA, _plain, shifted_norms=True, wide=True, never_stretched=True, always_tied=True
    ),
    "gemma2": Architecture(
        "gemma2", _GEMMA_2, _gemma_2, shifted_norms=True, wide=True, never_stretched=True, always_tied=True
    ),
    "gemma3": Architecture("gemma3_text", {**_GEMMA_2, **_NORMED}, _gemma_3, shifted_norms=True, wide=True),
    "phi3": Architecture(
        "phi3",
        {
            "attn_norm": "input_layernorm",
            "attn_qkv": "self_attn.qkv_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_norm": "post_attention_layernorm",
            "ffn_up": "mlp.gate_up_proj",
            "ffn_down": "mlp.down_proj",
        },
        _phi_3,
        settings=_LONG_FACTORS,
    ),
}


def architecture_of(header: GGUFHeader) -> Architecture:
    """Raises ModelUnsupported with the architecture's name."""
    name = header.architecture
    if name == "llama" and (header.integer("llama.expert_count") or 0) > 0:
        return _MIXTRAL
    if (found := _ARCHITECTURES.get(name)) is None:
        raise ModelUnsupported(
            f"{header.name} holds a network of the architecture '{name}', and these are read from GGUF: "
            f"{', '.join(sorted(_ARCHITECTURES))}; an MLX folder of the model may load",
            {"file": header.file, "architecture": name},
        )
    return found


def config_of(header: GGUFHeader, tensors: Mapping[str, TensorInfo], floats: Floats) -> Settings:
    """What a config.json for mlx-lm would say. `floats` reads the few tensors that are settings.

    Raises ModelInvalid or ModelUnsupported.
    """
    keys, found = _Keys(header, tensors, floats), architecture_of(header)
    _check_counts(keys)
    if (embeddings := tensors.get("token_embd.weight")) is None or len(embeddings.shape) != 2:
        header.refuse("holds no matrix 'token_embd.weight'")
    if keys.header.flag(f"{header.architecture}.attention.causal") is False:
        raise keys.unsupported("attention in both directions")
    more = found.more(keys)
    if found.never_stretched and "rope_scaling" in more:
        raise keys.unsupported("a stretched rotation (rope.scaling)")
    heads = keys.count("attention.head_count")
    return {
        "model_type": found.model_type,
        "hidden_size": keys.count("embedding_length"),
        "num_hidden_layers": keys.count("block_count"),
        "intermediate_size": keys.count("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": keys.maybe("attention.head_count_kv") or heads,
        "rms_norm_eps": keys.positive("attention.layer_norm_rms_epsilon", 1e-6),
        "max_position_embeddings": keys.count("context_length"),
        "vocab_size": embeddings.shape[0],
        "tie_word_embeddings": found.always_tied or not keys.has("output.weight"),
        **more,
    }


def _check_counts(keys: _Keys) -> None:
    """A layer, an expert or a head is a Python object as soon as mlx-lm hears of it (models/counts.py)."""
    stated = keys.count("block_count")
    layers = {int(found[1]) for name in keys.tensors if (found := _LAYER.fullmatch(name))}
    if stated > _MOST_LAYERS or layers != set(range(stated)):
        keys.header.refuse(f"states {stated} layers, and its tensors belong to {len(layers)}")
    for key in ("attention.head_count", "attention.head_count_kv", "expert_count", "expert_used_count"):
        if (keys.maybe(key) or 0) * stated > _MOST_PARTS:
            keys.header.refuse(f"can't be right: its {key} is {keys.maybe(key)}, and there are {stated} layers")


def name_of(found: Architecture, tensor: str) -> str | None:
    """What mlx-lm calls a tensor; None for one that it computes itself.

    Raises KeyError where it has no place for it.
    """
    if tensor in found.settings or (found.always_tied and tensor == "output.weight"):
        return None
    if (inside := _LAYER.fullmatch(tensor)) is not None:
        return f"model.layers.{inside[1]}.{found.layer[inside[2]]}.{inside[3]}"
    stem, _, kind = tensor.rpartition(".")
    if kind not in ("weight", "bias"):
        raise KeyError(tensor)
    return f"{found.outside[stem]}.{kind}"


def heads_to_turn(found: Architecture, tensor: str, config: Settings) -> int | None:
    """In how many heads the rows of a tensor have to be brought from neighbours to halves; None: in none."""
    part = tensor.split(".")[2] if tensor.startswith("blk.") else ""
    if not found.interleaved or part not in ("attn_q", "attn_k"):
        return None
    return int(config["num_attention_heads" if part == "attn_q" else "num_key_value_heads"])
