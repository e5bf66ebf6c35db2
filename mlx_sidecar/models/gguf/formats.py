"""What becomes of a tensor's type in MLX: groups of values with a scale, or floating point.

MLX's affine groups hold `scale * q + bias`. A type whose blocks are such groups keeps its values to the last bit of the
scale. Q2_K, Q3_K and Q6_K have a scale for every 16 values, where MLX's smallest affine group has 32: they are written
anew, with at most an eighth of the file's own step between the old value and the new
(docs/decisions/012-gguf-weights.md has the figures).
"""

from __future__ import annotations

from msgspec import Struct

from mlx_sidecar.models.gguf.header import TensorInfo


class Format(Struct, frozen=True):
    """How MLX holds a tensor. Without bits it is plain numbers."""

    bits: int | None = None
    group_size: int = 32
    mode: str = "affine"
    exact: bool = True
    """Whether the values are the file's, but for the rounding of the scale."""

    def held_bytes(self, values: int, float_bytes: int) -> int:
        """Of so many values, where a number takes so many bytes."""
        if self.bits is None:
            return values * float_bytes
        groups = values // self.group_size
        scale_bytes = 2 * float_bytes if self.mode == "affine" else 1
        return values * self.bits // 8 + groups * scale_bytes


FLOAT = Format()
_FORMATS = {
    "F32": FLOAT,
    "F16": FLOAT,
    "BF16": FLOAT,
    "F64": FLOAT,
    "Q4_0": Format(4),
    "Q4_1": Format(4),
    "Q5_0": Format(5),
    "Q5_1": Format(5),
    "Q8_0": Format(8),
    "Q2_K": Format(6, exact=False),
    "Q3_K": Format(6, exact=False),
    "Q4_K": Format(4),
    "Q5_K": Format(5),
    "Q6_K": Format(8, exact=False),
    # Sixteen values of a table, all of them whole numbers of one byte.
    "IQ4_NL": Format(8),
    "IQ4_XS": Format(8),
    "TQ1_0": Format(2, 128),
    "TQ2_0": Format(2, 128),
    "MXFP4": Format(4, 32, "mxfp4"),
}


def format_of(type_name: str) -> Format | None:
    """Of a tensor of this type; None where it isn't read."""
    return _FORMATS.get(type_name)


def held_bytes(tensor: TensorInfo, float_bytes: int) -> int:
    """What MLX will take for a tensor, where a number takes so many bytes (4 on the CPU, else 2)."""
    form = _FORMATS.get(tensor.type.name, FLOAT)
    # Vectors are norms and biases, which MLX doesn't quantize.
    return (form if len(tensor.shape) > 1 else FLOAT).held_bytes(tensor.values, float_bytes)
