"""The models that are measured: random weights of a usual shape, an ordinary tokenizer, made on the spot.

Nothing that is measured here depends on what the weights say, only on their shapes. The end token's row and those of
no token are zero in the tied embedding, so a greedy answer never ends before its `max_tokens`: each run of a row
computes the same number of tokens on both sides.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parent.parent / "mlx_sidecar" / "demo"


@dataclass(frozen=True)
class Shape:
    """A model, and how much of it a run asks for so that a row takes seconds, not hours."""

    name: str
    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    prompt_words: int
    tokens: int
    context: int = 16384


SMALL = Shape("3M", 256, 4, 512, 8, 4, 8192, prompt_words=40, tokens=128)
LARGE = Shape("110M", 768, 12, 2048, 12, 4, 32768, prompt_words=12, tokens=24)
PRECISIONS = ("float32", "bfloat16", "4-bit")
SHAPES = {shape.name: shape for shape in (SMALL, LARGE)}


def build(folder: Path, shape: Shape, precision: str = "float32") -> Path:
    """Write a qwen3 of that shape."""
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten, tree_map_with_path
    from mlx_lm.models import qwen3

    folder.mkdir(parents=True, exist_ok=True)
    eos, known = _write_tokenizer(folder, shape.vocabulary)
    config = _config(shape, eos)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    mx.random.seed(7)

    def draw(path: str, old: Any) -> Any:
        if old.ndim == 1:
            return old
        if "embed" in path:
            # Logits with a spread of about 8, so that sampling doesn't choose a row of no token either.
            rows = mx.random.normal(old.shape) * (8.0 / math.sqrt(shape.hidden))
            rows[eos] = 0.0
            rows[known:] = 0.0
            return rows
        return mx.random.normal(old.shape) / math.sqrt(old.shape[-1])

    model.update(tree_map_with_path(draw, model.parameters()))
    if precision == "bfloat16":
        model.set_dtype(mx.bfloat16)
    if precision == "4-bit":
        config["quantization"] = {"group_size": 64, "bits": 4}
        nn.quantize(model, **config["quantization"])
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    # What is measured stands for large models, which see one set of examples for all tasks.
    (folder / "task_prompts.json").write_text('{"every_task": true, "rank": false}', encoding="utf-8")
    return folder


def _config(shape: Shape, eos: int) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "vocab_size": shape.vocabulary,
        "eos_token_id": eos,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": 64 if shape.hidden > 512 else 32,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
    }


def _write_tokenizer(folder: Path, size: int) -> tuple[int, int]:
    """The embedded model's tokenizer, filled up with made-up words; gives its end token and its size."""
    described = json.loads((DEMO / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = described["model"]["vocab"]
    taken = set(vocabulary.values()) | {token["id"] for token in described["added_tokens"]}
    first, number = max(taken) + 1, 0
    while first < size:
        word = _made_up(number)
        number += 1
        if word not in vocabulary:
            vocabulary[word] = first
            first += 1
    (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        if (DEMO / name).exists():
            (folder / name).write_bytes((DEMO / name).read_bytes())
    return int(json.loads((DEMO / "config.json").read_text(encoding="utf-8"))["eos_token_id"]), first


def _made_up(number: int) -> str:
    consonants, vowels = "bdfgklmnprstvz", "aeiou"
    word = ""
    for _ in range(3):
        number, syllable = divmod(number, len(consonants) * len(vowels))
        word += consonants[syllable // len(vowels)] + vowels[syllable % len(vowels)]
    return f"Ġ{word}q"
