"""The blocks of GGUF's tensor types, turned into MLX's groups.

Each function takes blocks as bytes, one a row, and gives packed integers and a scale and a bias for each group, as
`mx.dequantize` reads them. Where the file has a scale for 16 values, two of them become one group of 32.
The layouts are those of ggml-quants.c (https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c).

Written with whole words of bits: a Q4_K file of 1.1 GB takes about 2 s of one core. The gguf package's own
`dequantize` takes five times that and gives floats, out of which MLX would have to find the groups again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Groups(Struct):
    """Blocks as MLX holds them, one a row: the packed integers' bytes, and scales and biases of the groups.

    The formats that have no bias (mxfp4) keep the byte of the scale as it is.
    """

    packed: Bytes
    scales: Any
    biases: Any = None


def _halves(blocks: Bytes, at: int) -> Floats:
    """A 16-bit number of each block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _packed_nibbles(values: Bytes) -> Bytes:
    """Bytes whose lower halves are one row of values and whose upper halves are the next, as rows of 4-bit values."""
    pairs = np.ascontiguousarray(values).view(np.uint16)
    packed = np.empty((*pairs.shape[:-1], 2, pairs.shape[-1]), np.uint8)
    packed[..., 0, :] = (pairs & 0x0F) | ((pairs >> 4) & 0xF0)
    packed[..., 1, :] = ((pairs >> 4) & 0x0F) | ((pairs >> 8) & 0xF0)
    return packed


def _nibbles(values: Bytes) -> Bytes:
    """The same, unpacked: a byte for each value."""
    return np.stack([values & 0x0F, values >> 4], axis=-2)


def _fields(values: Bytes, shifts: tuple[int, ...], mask: int) -> Bytes:
    """Rows of values, each at another place of the same bytes."""
    return np.stack([(values >> shift) & mask for shift in shifts], axis=-2)


def pack(values: Bytes, bits: int) -> Bytes:
    """Values of one byte each, so many bits one behind the other, the lowest first."""
    if bits == 8:
        return values
    words, mask = np.ascontiguousarray(values).view(np.uint64), (1 << bits) - 1
    # Neighbours move together: bytes to pairs, pairs to fours, fours to eights.
    for lane in (8, 16, 32):
        low = sum(mask << place for place in range(0, 64, 2 * lane))
        words = (words & np.uint64(low)) | (
            (words >> np.uint64(lane // 8 * (8 - bits))) & np.uint64(low << lane // 8 * bits)
        )
        mask = (1 << bits * lane // 4) - 1
    return np.ascontiguousarray(words[..., None].view(np.uint8)[..., :bits]).reshape(*values.shape[:-1], -1)


def _q4_0(blocks: Bytes) -> Groups:
    scale = _halves(blocks, 0)
    return Groups(_packed_nibbles(blocks[:, 2:]).reshape(len(blocks), -1), scale, -8 * scale)


def _q4_1(blocks: Bytes) -> Groups:
    return Groups(_packed_nibbles(blocks[:, 4:]).reshape(len(blocks), -1), _halves(blocks, 0), _halves(blocks, 2))


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """A bit for each of 32 values, as 16."""
    fifth: Bytes = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << np.uint8(4)
    return fifth


def _q5_0(blocks: Bytes) -> Groups:
    scale = _halves(blocks, 0)
    values = _nibbles(blocks[:, 6:]).reshape(-1, 32) | _fifth_bits(blocks, 2)
    return Groups(pack(values, 5), scale, -16 * scale)


def _q5_1(blocks: Bytes) -> Groups:
    values = _nibbles(blocks[:, 8:]).reshape(-1, 32) | _fifth_bits(blocks, 4)
    return Groups(pack(values, 5), _halves(blocks, 0), _halves(blocks, 2))


def _q8_0(blocks: Bytes) -> Groups:
    scale = _halves(blocks, 0)
    return Groups(blocks[:, 2:] ^ np.uint8(0x80), scale, -128 * scale)


def _sixes(packed: Bytes) -> tuple[Floats, Floats]:
    """The eight scales and eight minima of Q4_K and Q5_K, six bits each in twelve bytes."""
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _q4_k(blocks: Bytes) -> Groups:
    scales, minima = _sixes(blocks[:, 4:16])
    packed = _packed_nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(len(blocks), -1)
    return Groups(packed, _halves(blocks, 0) * scales, -_halves(blocks, 2) * minima)


def _q5_k(blocks: Bytes) -> Groups:
    scales, minima = _sixes(blocks[:, 4:16])
    high = _fields(blocks[:, 16:48], tuple(range(8)), 1) << np.uint8(4)
    values = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | high
    return Groups(pack(values.reshape(-1, 256), 5), _halves(blocks, 0) * scales, -_halves(blocks, 2) * minima)


def _joined(values: npt.NDArray[np.int8], scales: Floats, bits: int, steps: int) -> Groups:
    """Groups of 16 with a scale each, around 0, as groups of 32.

    The larger scale of the two is divided into so many steps, so that its values stay what they are; those of the
    other come to lie on the nearest step.
    """
    pairs = scales.reshape(len(scales), -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    # With its sign: the lowest value has no opposite.
    step = np.where(np.abs(first) >= np.abs(second), first, second) / np.float32(steps)
    ratios = np.divide(pairs, step[..., None], out=np.zeros_like(pairs), where=step[..., None] != 0)
    middle = 1 << (bits - 1)
    fine = values.astype(np.float32).reshape(*pairs.shape, 16)
    fine *= ratios[..., None]
    # What is cut off when bytes are made of it rounds to the nearest step.
    fine += np.float32(middle + 0.5)
    # Where the two have opposite signs, the other's lowest value may be one more than there is room for.
    np.minimum(fine, np.float32(2 * middle - 0.5), out=fine)
    return Groups(pack(fine.astype(np.uint8).reshape(len(scales), -1), bits), step, -middle * step)


def _q6_k(blocks: Bytes) -> Groups:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    high = _fields(blocks[:, 128:192].reshape(-1, 2, 32), (0, 2, 4, 6), 3) << np.uint8(4)
    values = ((low | high).view(np.int8) - 32).reshape(-1, 256)
    scales = _halves(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return _joined(values, scales, 8, 4)


def _q3_k(blocks: Bytes) -> Groups:
    low = _fields(blocks[:, 32:96].reshape(-1, 2, 32), (0, 2, 4, 6), 3).reshape(-1, 256)
    high = _fields(blocks[:, :32], tuple(range(8)), 1).reshape(-1, 256) << 2
    packed = blocks[:, 96:108]
    scales = _nibbles(packed[:, :8]).reshape(-1, 16) | (_fields(packed[:, 8:], (0, 2, 4, 6), 3).reshape(-1, 16) << 4)
    signed = scales.view(np.int8) - 32
    return _joined((low | high).view(np.int8) - 4, _halves(blocks, 108) * signed.astype(np.float32), 6, 8)


def _q2_k(blocks: Bytes) -> Groups:
    """Each 16 values have a minimum, too: the two ranges together are divided evenly."""
    values = _fields(blocks[:, 16:80].reshape(-1, 2, 32), (0, 2, 4, 6), 3).reshape(-1, 16, 16).astype(np.float32)
    scales = _halves(blocks, 80) * (blocks[:, :16] & 15).astype(np.float32)
    minima = _halves(blocks, 82) * (blocks[:, :16] >> 4).astype(np.float32)
    real = (values * scales[..., None] - minima[..., None]).reshape(-1, 8, 32)
    lowest = real.min(axis=2, keepdims=True)
    step = (real.max(axis=2, keepdims=True) - lowest) / 63
    fine = np.divide(real - lowest, step, out=np.zeros_like(real), where=step != 0)
    return Groups(pack(np.rint(fine).astype(np.uint8).reshape(-1, 256), 6), step[..., 0], lowest[..., 0])


_IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int16)
_IQ4_BYTES = (_IQ4_VALUES + 128).astype(np.uint8)


def _iq4_nl(blocks: Bytes) -> Groups:
    scale = _halves(blocks, 0)
    return Groups(_IQ4_BYTES[_nibbles(blocks[:, 2:]).reshape(-1, 32)], scale, -128 * scale)


def _iq4_xs(blocks: Bytes) -> Groups:
    high = np.ascontiguousarray(blocks[:, 2:4]).view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    low = (blocks[:, 4:8, None] >> np.array([0, 4], np.uint8) & 15).reshape(-1, 8)
    scales = _halves(blocks, 0) * ((low | (high << 4).astype(np.uint8)).astype(np.float32) - 32)
    packed = _IQ4_BYTES[_nibbles(blocks[:, 8:].reshape(-1, 8, 16)).reshape(-1, 256)]
    return Groups(packed, scales, -128 * scales)


def _ternary(values: Bytes, scale: Floats) -> Groups:
    """0, 1 and 2 for minus, nothing and plus."""
    scales = np.repeat(scale, 2, axis=1)
    return Groups(pack(values, 2), scales, -scales)


def _tq2_0(blocks: Bytes) -> Groups:
    values = _fields(blocks[:, :64].reshape(-1, 2, 32), (0, 2, 4, 6), 3)
    return _ternary(values.reshape(-1, 256), _halves(blocks, 64))


def _tq1_0(blocks: Bytes) -> Groups:
    """Five digits to the base of 3 in a byte, as a fraction of 256: each is what times 3 carries over."""
    digits = np.array([1, 3, 9, 27, 81], np.uint8)[:, None]
    parts = (blocks[:, None, 0:32] * digits, blocks[:, None, 32:48] * digits, blocks[:, None, 48:52] * digits[:4])
    fractions = np.concatenate([part.reshape(len(blocks), -1) for part in parts], axis=1)
    values = (fractions.astype(np.uint16) * 3 >> 8).astype(np.uint8)
    return _ternary(values, _halves(blocks, 52))


def _mxfp4(blocks: Bytes) -> Groups:
    return Groups(_packed_nibbles(blocks[:, 1:]).reshape(len(blocks), -1), blocks[:, :1])


READERS: dict[str, Callable[[Bytes], Groups]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "MXFP4": _mxfp4,
}
"""By the type's name."""


def floats(raw: Bytes, type_name: str) -> Floats:
    """Of a type that isn't quantized."""
    if type_name == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    kinds: dict[str, type[np.floating[Any]]] = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
    return raw.view(kinds[type_name]).astype(np.float32)
