"""Every tensor type that is read, against what the gguf package makes of the same bytes."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, quants

from mlx_sidecar.engine import gguf_blocks
from mlx_sidecar.models.gguf import formats
from mlx_sidecar.models.gguf.types import TENSOR_TYPES

_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}
_REWRITTEN = {"Q2_K", "Q3_K", "Q6_K"}
_HALVES = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}
_HALVES |= {"Q4_1": (0, 2), "Q5_1": (0, 2)}


def _blocks(name: str, count: int = 64) -> npt.NDArray[np.uint8]:
    """Any bytes, but for the 16-bit scales, which are numbers of the size that weights have."""
    chance = np.random.default_rng(17)
    blocks = chance.integers(0, 256, (count, _TYPES[name].block_bytes), dtype=np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = chance.integers(110, 140, count)
        return blocks
    for at in _HALVES.get(name, (0,)):
        blocks[:, at : at + 2] = (chance.standard_normal((count, 1)) / 50).astype(np.float16).view(np.uint8)
    return blocks


def _ours(name: str, blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    form = formats.format_of(name)
    assert form is not None
    groups = gguf_blocks.READERS[name](blocks)
    packed = mx.array(np.ascontiguousarray(groups.packed).view(np.uint32))
    biases = None if groups.biases is None else mx.array(groups.biases)
    made = mx.dequantize(packed, mx.array(groups.scales), biases, form.group_size, form.bits, form.mode)
    return np.array(made.astype(mx.float32))


def _theirs(name: str, blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    made: npt.NDArray[np.float32] = quants.dequantize(blocks, GGMLQuantizationType[name])
    return made


@pytest.mark.parametrize("name", sorted(set(gguf_blocks.READERS) - set(_REWRITTEN)))
def test_values_are_the_files_own(name: str) -> None:
    blocks = _blocks(name)
    theirs = _theirs(name, blocks)
    # MLX adds the bias to the product, where the package multiplies a difference: the last bits of the larger number.
    most = np.abs(theirs).max(axis=1, keepdims=True)
    assert np.all(np.abs(_ours(name, blocks) - theirs) <= 4e-7 * most + 1e-12)


@pytest.mark.parametrize("name", sorted(_REWRITTEN))
def test_values_that_are_written_anew_stay_within_an_eighth_of_a_step(name: str) -> None:
    blocks = _blocks(name, 512)
    theirs = _theirs(name, blocks).reshape(-1, 2, 16)
    apart = np.abs(_ours(name, blocks).reshape(theirs.shape) - theirs)
    ranges = theirs.max(axis=(1, 2)) - theirs.min(axis=(1, 2))
    if name == "Q2_K":
        # Two ranges anywhere become one, in 63 steps.
        assert np.all(apart.max(axis=(1, 2)) <= ranges / 63 / 2 * 1.001)
        return
    scales = _scales(name, blocks).reshape(-1, 2)
    step = np.abs(scales).max(axis=1)
    assert np.all(
        apart.max(axis=(1, 2)) <= step * {"Q6_K": 1 / 8, "Q3_K": 1 / 16}[name] * 1.001 + _clipped(scales, step)
    )
    larger = np.abs(scales).argmax(axis=1)[:, None]
    assert np.all(np.take_along_axis(apart.max(axis=2), larger, axis=1)[:, 0] <= 1e-6 * ranges)


def _scales(name: str, blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Of each 16 values: what the package makes of a block that is all ones."""
    ones = blocks.copy()
    if name == "Q6_K":
        ones[:, :128], ones[:, 128:192] = 0x11, 0xAA  # 33 - 32
    else:
        ones[:, :32], ones[:, 32:96] = 0xFF, 0x55  # 5 - 4
    return _theirs(name, ones)[:, ::16]


def _clipped(scales: npt.NDArray[np.float32], step: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of opposite scales, the smaller one's lowest value may be one more than there is room for."""
    return np.where(scales[:, 0] * scales[:, 1] < 0, step / 4, 0)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_values_are_packed_as_mlx_packs(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (3, 64), dtype=np.uint8)
    packed = mx.array(gguf_blocks.pack(values, bits).view(np.uint32))
    ones, none = mx.ones((3, 2)), mx.zeros((3, 2))
    assert np.array_equal(np.array(mx.dequantize(packed, ones, none, 32, bits)), values)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "F64"])
def test_numbers_that_are_not_quantized(name: str) -> None:
    numbers = np.random.default_rng(1).standard_normal(32).astype(np.float32)
    raw = (
        numbers.astype(np.float64).view(np.uint8)
        if name == "F64"
        else quants.quantize(numbers[None], GGMLQuantizationType[name]).view(np.uint8).reshape(-1)
    )
    apart = np.abs(gguf_blocks.floats(raw, name) - numbers)
    assert np.all(apart <= {"F16": 5e-4, "BF16": 4e-3}.get(name, 0) * np.abs(numbers))


@pytest.mark.parametrize("name", sorted(gguf_blocks.READERS))
def test_what_is_held_is_what_is_counted(name: str) -> None:
    form, blocks = formats.format_of(name), _blocks(name, 8)
    assert form is not None
    groups = gguf_blocks.READERS[name](blocks)
    held = groups.packed.nbytes + groups.scales.nbytes + (0 if groups.biases is None else groups.biases.nbytes)
    assert held == form.held_bytes(8 * _TYPES[name].block_values, 4)
