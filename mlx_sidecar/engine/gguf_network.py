"""mlx-lm's network for a GGUF file, with its weights promised first and read afterwards.

A promised weight is an array of zeros that MLX hasn't made yet: it has a shape and a type, takes no memory, and mlx-lm
can put the network, adapters included, together around it. Reading makes the array and decodes the file's blocks
straight into its memory, a few rows at a time, so that no weight is ever there twice.

On the CPU all numbers are float32: with scales of 16 bits a product takes 8 (bfloat16) to 35 times (float16) as long
(mlx 0.32.4, 1024 x 1024, 2026-11-29). On Metal, where nothing was measured, they have 16 bits.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn
from msgspec import Struct

from mlx_sidecar.engine import gguf_blocks
from mlx_sidecar.errors import ModelInvalid, ModelUnsupported
from mlx_sidecar.models.files import open_file
from mlx_sidecar.models.gguf.formats import FLOAT, Format, format_of
from mlx_sidecar.models.gguf.model_file import ModelFile, PlacedTensor

_PIECE_VALUES = 2**20
"""Decoded at a time: some 12 MB in between for each decoder. With a quarter of it calls take a tenth more."""
_DECODERS = min(4, os.cpu_count() or 1)
"""NumPy lets other threads run while it computes."""
_YIELD_BYTES = 32 * 1024 * 1024


class _Promised(Struct, eq=False):
    """A tensor of the file, and the arrays that will hold it: weight, scales, biases."""

    tensor: PlacedTensor
    format: Format
    arrays: dict[str, mx.array]


class GGUFWeights:
    """What there is to read for a network."""

    def __init__(self, promised: list[_Promised]) -> None:
        self._promised = promised

    @property
    def tensor_types(self) -> list[dict[str, Any]]:
        """What becomes of each type of tensor, as `model-info` says it."""
        kinds: dict[tuple[str, str], dict[str, Any]] = {}
        for each in self._promised:
            form, info = each.format, each.tensor.info
            number = str(next(iter(each.arrays.values())).dtype).removeprefix("mlx.core.")
            mode = form.mode if form.bits is not None else number
            unseen = {"type": info.type.name, "mode": mode, "tensors": 0, "file_bytes": 0, "memory_bytes": 0}
            kind = kinds.setdefault((info.type.name, mode), unseen)
            kind["exact"] = form.exact
            if form.bits is not None:
                kind |= {"bits": form.bits, "group_size": form.group_size}
            kind["tensors"] += 1
            kind["file_bytes"] += info.size_bytes
            kind["memory_bytes"] += sum(array.nbytes for array in each.arrays.values())
        return list(kinds.values())

    def read(self, network: Any) -> Generator[float, None, None]:
        """Fill the network's arrays; yields the part that is read, 0 to 1. Raises ModelInvalid."""
        from mlx.utils import tree_flatten

        # A full adapter has put its own weights in the place of some.
        there = {id(weight) for _, weight in tree_flatten(network.parameters())}
        wanted = [each for each in self._promised if any(id(array) in there for array in each.arrays.values())]
        total, read, told = sum(each.tensor.info.size_bytes for each in wanted), 0, 0
        with ExitStack() as opened:
            decoders = opened.enter_context(ThreadPoolExecutor(_DECODERS, "decoder"))
            streams: dict[Path, BinaryIO] = {}
            for each in wanted:
                file = each.tensor.file
                if file not in streams:
                    streams[file] = opened.enter_context(open_file(file))
                for piece_bytes in _fill(each, streams[file].fileno(), decoders):
                    read += piece_bytes
                    if read - told >= _YIELD_BYTES:
                        told = read
                        yield read / total


def build(model: ModelFile) -> tuple[Any, GGUFWeights]:
    """The network, and what is to be read into it. Raises what mlx-lm raises where the tensors don't fit."""
    module = importlib.import_module(f"mlx_lm.models.{model.model_type}")
    network = module.Model(module.ModelArgs.from_dict(model.config))
    if hasattr(network, "sanitize"):
        network.sanitize({tensor.name: mx.zeros(()) for tensor in model.tensors})
    quantizable = {path for path, part in network.named_modules() if hasattr(part, "to_quantized")}
    kind = _number_type(model)
    promised = []
    formats: dict[str, Format] = {}
    for tensor in model.tensors:
        path, _, role = tensor.name.rpartition(".")
        form = format_of(tensor.info.type.name) or FLOAT
        if form.bits is not None:
            if role != "weight" or path not in quantizable or len(tensor.info.shape) < 2:
                raise _never_quantized(tensor)
            formats[path] = form
        promised.append(_Promised(tensor, form, _promise(tensor, form, kind)))

    def quantized(path: str, _: Any) -> Any:
        form = formats.get(path)
        return form is not None and {"group_size": form.group_size, "bits": form.bits, "mode": form.mode}

    nn.quantize(network, class_predicate=quantized)
    network.eval()
    network.load_weights([(name, array) for each in promised for name, array in each.arrays.items()])
    return network, GGUFWeights(promised)


def _never_quantized(tensor: PlacedTensor) -> ModelUnsupported:
    return ModelUnsupported(
        f"{tensor.file} holds '{tensor.info.name[:100]}' quantized to {tensor.info.type.name}, "
        "and MLX has plain numbers there; take a file that llama.cpp wrote",
        {"file": tensor.file.name, "tensor_type": tensor.info.type.name},
    )


def _number_type(model: ModelFile) -> mx.Dtype:
    """Of activations, scales and all that isn't quantized."""
    if mx.default_device() == mx.cpu:
        return mx.float32
    matrices = Counter(t.info.type.name for t in model.tensors if len(t.info.shape) > 1)
    if matrices and set(matrices) == {"F32"}:
        return mx.float32
    return mx.bfloat16 if model.architecture.wide or matrices["BF16"] else mx.float16


def _promise(tensor: PlacedTensor, form: Format, kind: mx.Dtype) -> dict[str, mx.array]:
    shape, name = tensor.info.shape, tensor.name
    if form.bits is None:
        return {name: mx.zeros(shape, kind)}
    path = name.removesuffix("weight")
    packed = mx.zeros((*shape[:-1], shape[-1] * form.bits // 32), mx.uint32)
    groups = (*shape[:-1], shape[-1] // form.group_size)
    if form.mode != "affine":
        return {name: packed, f"{path}scales": mx.zeros(groups, mx.uint8)}
    return {name: packed, f"{path}scales": mx.zeros(groups, kind), f"{path}biases": mx.zeros(groups, kind)}


def _fill(promised: _Promised, descriptor: int, decoders: ThreadPoolExecutor) -> Iterator[int]:
    """Read a tensor, some rows at a time; yields the bytes of each."""
    info = promised.tensor.info
    columns = info.shape[-1] if len(info.shape) > 1 else 1
    rows = info.values // columns
    order = _order(promised.tensor, rows)
    mx.eval(list(promised.arrays.values()))
    views = [(_view(array).reshape(rows, -1), array.dtype) for array in promised.arrays.values()]
    row_bytes, step = info.type.bytes_of(columns), max(1, _PIECE_VALUES // columns)

    def decode(first: int) -> int:
        """Without MLX, which only the main thread touches."""
        count = min(step, rows - first)
        raw = np.frombuffer(os.pread(descriptor, count * row_bytes, info.offset + first * row_bytes), np.uint8)
        if raw.size != count * row_bytes:
            file = promised.tensor.file
            raise ModelInvalid(f"{file} became shorter while it was read", {"file": file.name})
        places = slice(first, first + count) if order is None else order[first : first + count]
        for (view, kind), part in zip(views, _parts(promised, raw), strict=True):
            view[places] = _as_held(part.reshape(count, -1), kind)
        return raw.size

    return decoders.map(decode, range(0, rows, step))


def _parts(promised: _Promised, raw: gguf_blocks.Bytes) -> list[npt.NDArray[Any]]:
    """What goes into each of the arrays."""
    info = promised.tensor.info
    if promised.format.bits is None:
        numbers = gguf_blocks.floats(raw, info.type.name)
        return [numbers - np.float32(1) if promised.tensor.less_one else numbers]
    groups = gguf_blocks.READERS[info.type.name](raw.reshape(-1, info.type.block_bytes))
    packed = np.ascontiguousarray(groups.packed).view(np.uint32)
    return [packed, groups.scales] if groups.biases is None else [packed, groups.scales, groups.biases]


def _order(tensor: PlacedTensor, rows: int) -> npt.NDArray[np.intp] | None:
    """Where each row of the file belongs. Raises ModelInvalid where the heads don't share them evenly."""
    if tensor.heads is None:
        return None
    if rows % (2 * tensor.heads):
        reason = f"{tensor.file}: '{tensor.info.name[:100]}' has {rows} rows for {tensor.heads} heads"
        raise ModelInvalid(reason, {"file": tensor.file.name})
    places: npt.NDArray[np.intp] = np.arange(rows).reshape(tensor.heads, 2, -1).swapaxes(1, 2).reshape(-1)
    return places


def _view(array: mx.array) -> npt.NDArray[Any]:
    """An array's own memory; NumPy has no bfloat16 and is given its bits."""
    return np.asarray(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


def _as_held(numbers: npt.NDArray[Any], kind: mx.Dtype) -> npt.NDArray[Any]:
    if kind != mx.bfloat16:
        return numbers
    bits = numbers.astype(np.float32).view(np.uint32)
    # To the nearest, and of two to the even one.
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
