"""Whether a model fits, from headers and config.json alone: neither MLX nor any weight is needed for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_sidecar.engine.cache_cost import cost_of
from mlx_sidecar.engine.memory import RowCost
from mlx_sidecar.engine.plan import stated_context_length
from mlx_sidecar.models import directory
from mlx_sidecar.models.gguf import model_file
from mlx_sidecar.models.gguf.formats import held_bytes
from mlx_sidecar.models.gguf.model_file import ModelFile
from mlx_sidecar.models.safetensors import StoredTensor

UNKNOWN_CONTEXT_LENGTH = 32_768
"""Where config.json states none."""

_UNUSED = re.compile(
    r"(?:.*\.)?(?:vision_tower|vision_model|visual|multi_modal_projector|audio_tower)\..*|.*\.inv_freq"
)
"""What a model brings for pictures and sound, and what mlx-lm computes itself."""

_OUTPUT = re.compile(r"(?:.*\.)?lm_head\..*")
_TIED_BY_WEIGHTS = frozenset({"gemma3", "gemma3_text"})
"""Where mlx-lm has an output matrix if the weights do."""

_ON_THE_WAY = re.compile(r"(?:.*\.)?(?:embed_tokens|layers\.\d+\.(?:input_layernorm|self_attn))\..*")
"""Tensors through which what is cached has gone: their types decide on the type of the cache."""


class ModelSizes(Struct, frozen=True):
    """What a model's headers say of the memory that it takes."""

    model_type: str
    quantization: dict[str, Any] | None
    weight_bytes: int
    cost: RowCost
    context_length: int


class Fit(Struct, frozen=True):
    """Whether weights and a sequence have room, and how long that may be at most."""

    fits: bool
    largest_context: int


def of_path(path: Path, float_bytes: int) -> ModelSizes:
    """Of a folder, or of a GGUF file. Raises SidecarError as a load would."""
    if model_file.is_model_file(path):
        return of_gguf(model_file.check(path), float_bytes)
    folder = directory.check(path)
    return of_tensors(folder.config, (tensor for file in folder.weight_files for tensor in file.tensors))


def of_tensors(config: dict[str, Any], tensors: Iterable[StoredTensor]) -> ModelSizes:
    """Of safetensors files, all of whose tensors these are."""
    # Tied embeddings are the default of transformers, which its config.json files leave out.
    is_tied = config.get("tie_word_embeddings", True) is not False and config["model_type"] not in _TIED_BY_WEIGHTS
    weight_bytes, types = 0, set[str]()
    for tensor in tensors:
        if _UNUSED.fullmatch(tensor.name) or (is_tied and _OUTPUT.fullmatch(tensor.name)):
            continue
        weight_bytes += tensor.size_bytes
        if _ON_THE_WAY.fullmatch(tensor.name):
            types.add(tensor.dtype)
    # MLX computes with the wider of two types, and float32 is the one wider than both of 16 bits.
    number_bytes = 4 if "F32" in types or {"F16", "BF16"} <= types else 2
    return _sizes(config, directory.quantization_of(config), weight_bytes, number_bytes)


def of_gguf(model: ModelFile, float_bytes: int) -> ModelSizes:
    """Of GGUF files; a number that isn't quantized takes so many bytes on this device."""
    named = model.files.quantization
    kinds = {tensor.info.type.name for tensor in model.tensors if len(tensor.info.shape) > 1}
    number_bytes = 4 if kinds == {"F32"} else float_bytes
    weight_bytes = sum(held_bytes(tensor.info, number_bytes) for tensor in model.tensors)
    quantization = {"mode": named} if named is not None else None
    return _sizes(model.config, quantization, weight_bytes, number_bytes)


def _sizes(
    config: dict[str, Any], quantization: dict[str, Any] | None, weight_bytes: int, number_bytes: int
) -> ModelSizes:
    return ModelSizes(
        model_type=str(config["model_type"]),
        quantization=quantization,
        weight_bytes=weight_bytes,
        cost=cost_of(config, number_bytes),
        context_length=stated_context_length(config) or UNKNOWN_CONTEXT_LENGTH,
    )


def fit(sizes: ModelSizes, room_bytes: int, context_length: int | None) -> Fit:
    """Within so many bytes: a load of the model, with this context or with the shortest that makes sense."""
    left_bytes = room_bytes - sizes.weight_bytes
    most = sizes.cost.most_tokens(max(0, left_bytes))
    is_possible = left_bytes >= sizes.cost.bytes(1)
    largest = sizes.context_length if most is None else min(sizes.context_length, most)
    wanted = context_length or 1
    return Fit(is_possible and wanted <= largest, largest if is_possible else 0)
