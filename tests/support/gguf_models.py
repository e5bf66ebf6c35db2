"""Small networks of random weights, one for each architecture that is read from GGUF, as the gguf package writes them.

`python -m tests.support.gguf_models NODE_MODULES` asks llama.cpp (node-llama-cpp) what they say to a few prompts, and
writes tests/corpus/gguf_answers.json anew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

ANSWERS = Path(__file__).parent.parent / "corpus" / "gguf_answers.json"
STEPS = 12
_WORDS, _WIDE, _INNER, _HEADS, _KV_HEADS = 64, 64, 128, 4, 2
_SEED = 17

Numbers = npt.NDArray[np.float32]
Quantize = Callable[[str, Numbers], tuple[npt.NDArray[Any], gguf.GGMLQuantizationType]]


class Shape(Struct, frozen=True):
    """What makes a network another one than the plainest."""

    architecture: str
    layers: int = 4
    head: int = 16
    base: float = 10_000.0
    untied: bool = False
    biases: bool = False
    fused: bool = False
    """q, k and v in one tensor, and the two of the gate."""
    head_norms: int = 0
    """1: a norm for each head of q and k; 2: for all heads together."""
    norms_after: bool = False
    norms_before: bool = True
    experts: int = 0
    expert_inner: int = 32
    rope_factors: bool = False
    """Llama 3.1's."""
    long_factors: bool = False
    more: Mapping[str, str | int | float] = field(default_factory=dict)


_EXPERTS = {"expert_count": 4, "expert_used_count": 2}
_GEMMA_3 = {"attention.sliding_window": 8}
_PHI_3 = {"attention.sliding_window": 0, "rope.scaling.original_context_length": 512}
SHAPES: dict[str, Shape] = {
    "llama": Shape("llama"),
    "llama, untied": Shape("llama", untied=True, head=32),
    "llama 3.1": Shape("llama", head=32, base=500_000.0, rope_factors=True),
    "llama, linear": Shape("llama", more={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "llama, yarn": Shape(
        "llama",
        more={
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
        },
    ),
    "mixtral": Shape("llama", experts=4, expert_inner=128, untied=True, more=_EXPERTS),
    "qwen2": Shape("qwen2", biases=True),
    "qwen3": Shape("qwen3", head_norms=1, head=32),
    "qwen3moe": Shape(
        "qwen3moe", head_norms=1, head=32, experts=4, untied=True, more={**_EXPERTS, "expert_feed_forward_length": 32}
    ),
    "olmo2": Shape("olmo2", head_norms=2, norms_before=False, norms_after=True, untied=True),
    "gemma": Shape("gemma", head=32),
    "gemma2": Shape(
        "gemma2",
        head=32,
        norms_after=True,
        more={"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "attention.sliding_window": 4096},
    ),
    "gemma3": Shape("gemma3", head=32, norms_after=True, head_norms=1, layers=7, base=1e6, more=_GEMMA_3),
    "gemma3, scaled": Shape(
        "gemma3",
        head=32,
        norms_after=True,
        head_norms=1,
        layers=7,
        base=1e6,
        more={**_GEMMA_3, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
    "phi3": Shape("phi3", fused=True, untied=True, more=_PHI_3),
    "phi3, long": Shape(
        "phi3",
        fused=True,
        untied=True,
        long_factors=True,
        more={
            "attention.sliding_window": 0,
            "rope.scaling.original_context_length": 128,
            "rope.scaling.attn_factor": 1.13384,
        },
    ),
    "granite": Shape(
        "granite", more={"logit_scale": 4.0, "attention.scale": 0.2, "embedding_scale": 3.0, "residual_scale": 0.5}
    ),
    "smollm3": Shape("smollm3", layers=8),
}


def prompts() -> list[list[int]]:
    """Tokens that the networks are asked to continue."""
    chance = np.random.default_rng(_SEED)
    return [[int(token) for token in chance.integers(2, _WORDS, 20)] for _ in range(3)]


def plain(_: str, numbers: Numbers) -> tuple[npt.NDArray[Any], gguf.GGMLQuantizationType]:
    """Nothing is quantized."""
    return numbers, gguf.GGMLQuantizationType.F32


def write(file: Path, shape: Shape, quantize: Quantize = plain) -> None:
    """A whole file; `quantize` says how each matrix is stored."""
    chance = np.random.default_rng(_SEED)
    writer = gguf.GGUFWriter(str(file), shape.architecture)
    _write_keys(writer, shape)

    def matrix(name: str, *sizes: int, width: float | None = None) -> None:
        numbers = chance.standard_normal(sizes).astype(np.float32) * np.float32(width or 2 / sizes[-1] ** 0.5)
        raw, kind = quantize(name, numbers) if len(sizes) > 1 else plain(name, numbers)
        writer.add_tensor(name, raw, raw_dtype=kind)

    def norm(name: str, size: int) -> None:
        writer.add_tensor(name, (1 + 0.2 * chance.standard_normal(size)).astype(np.float32))

    matrix("token_embd.weight", _WORDS, _WIDE, width=0.3)
    norm("output_norm.weight", _WIDE)
    if shape.untied:
        matrix("output.weight", _WORDS, _WIDE)
    for layer in range(shape.layers):
        _write_layer(f"blk.{layer}.", shape, matrix, norm)
    if shape.rope_factors:
        writer.add_tensor("rope_freqs.weight", _llama_3_factors(shape))
    if shape.long_factors:
        half = shape.head // 2
        writer.add_tensor("rope_factors_long.weight", (1 + chance.random(half)).astype(np.float32))
        writer.add_tensor("rope_factors_short.weight", np.ones(half, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_keys(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(512)
    writer.add_embedding_length(_WIDE)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(shape.base)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(_WORDS)
    writer.add_file_type(0)
    for key, value in shape.more.items():
        name = f"{shape.architecture}.{key}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    # Letters and the signs between and behind them; no text of the tests needs more.
    writer.add_token_list(["<s>", "</s>", *map(chr, range(ord("A"), ord("~"))), "AB"])
    writer.add_token_types([3, 3, *[1] * (_WORDS - 2)])
    writer.add_token_merges(["A B"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def _write_layer(layer: str, shape: Shape, matrix: Callable[..., None], norm: Callable[[str, int], None]) -> None:
    queries, keys = _HEADS * shape.head, _KV_HEADS * shape.head
    if shape.norms_before:
        norm(f"{layer}attn_norm.weight", _WIDE)
        norm(f"{layer}ffn_norm.weight", _WIDE)
    if shape.norms_after:
        norm(f"{layer}post_attention_norm.weight", _WIDE)
        norm(f"{layer}post_ffw_norm.weight", _WIDE)
    if shape.fused:
        matrix(f"{layer}attn_qkv.weight", queries + 2 * keys, _WIDE)
    else:
        for part, size in (("q", queries), ("k", keys), ("v", keys)):
            matrix(f"{layer}attn_{part}.weight", size, _WIDE)
            if shape.biases:
                matrix(f"{layer}attn_{part}.bias", size)
    matrix(f"{layer}attn_output.weight", _WIDE, queries)
    if shape.head_norms:
        norm(f"{layer}attn_q_norm.weight", shape.head if shape.head_norms == 1 else queries)
        norm(f"{layer}attn_k_norm.weight", shape.head if shape.head_norms == 1 else keys)
    if shape.experts:
        matrix(f"{layer}ffn_gate_inp.weight", shape.experts, _WIDE)
        for part in ("gate", "up"):
            matrix(f"{layer}ffn_{part}_exps.weight", shape.experts, shape.expert_inner, _WIDE)
        matrix(f"{layer}ffn_down_exps.weight", shape.experts, _WIDE, shape.expert_inner)
    else:
        if not shape.fused:
            matrix(f"{layer}ffn_gate.weight", _INNER, _WIDE)
        matrix(f"{layer}ffn_up.weight", 2 * _INNER if shape.fused else _INNER, _WIDE)
        matrix(f"{layer}ffn_down.weight", _WIDE, _INNER)


def _llama_3_factors(shape: Shape) -> Numbers:
    """As llama.cpp's converter computes them: 8 for slow rotations, 1 for fast ones, and between them in between."""
    made = []
    for place in range(0, shape.head, 2):
        length = 2 * np.pi * shape.base ** (place / shape.head)
        smooth = (8192 / length - 1) / 3
        made.append(1.0 if length < 2048 else 8.0 if length > 8192 else 1 / ((1 - smooth) / 8 + smooth))
    return np.array(made, np.float32)


if __name__ == "__main__":
    from benchmarks.gguf.llama_cpp import continuations

    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, each in SHAPES.items():
            write(Path(folder) / "m.gguf", each)
            said = continuations(Path(folder) / "m.gguf", prompts(), STEPS, Path(sys.argv[1]))
            answers[name] = [{"tokens": one.tokens, "tops": one.tops} for one in said]
            print(name, file=sys.stderr)
    lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in answers.items()]
    ANSWERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
