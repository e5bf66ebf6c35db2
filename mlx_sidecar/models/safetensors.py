"""A safetensors file's header, believed only where it describes the file exactly. Imports no MLX.

The rules are the format's own (https://huggingface.co/docs/safetensors#format): a tensor has the bytes that its
type and shape need, and the tensors lie one behind the other from the first byte to the last. Without them a small
file can promise any number of large tensors that all lie in the same place.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.models.files import MOST_HEADER_BYTES, MOST_TENSOR_VALUES, open_file, parse_json

_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


class StoredTensor(Struct, frozen=True):
    """What a header says of a tensor."""

    name: str
    dtype: str
    size_bytes: int


class WeightFile(Struct, frozen=True):
    """A safetensors file that holds what its header says."""

    path: Path
    tensors: tuple[StoredTensor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tensors."""
        return tuple(tensor.name for tensor in self.tensors)

    @property
    def data_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)


def check(file: Path) -> WeightFile:
    """Read the header, nothing else. Raises ModelInvalid, naming the file."""
    try:
        with open_file(file) as stream:
            size = os.fstat(stream.fileno()).st_size
            beginning = stream.read(8)
            header_bytes = int.from_bytes(beginning, "little")
            if header_bytes <= min(size, MOST_HEADER_BYTES):
                beginning += stream.read(header_bytes)
    except OSError as problem:
        raise ModelInvalid(f"{file} can't be read: {problem}", {"file": file.name}) from None
    return WeightFile(file, parse(beginning, str(file), size))


def parse(beginning: bytes, name: str, size: int) -> tuple[StoredTensor, ...]:
    """The tensors of a file of so many bytes that begins like that. Raises ModelInvalid; `name` is for its message."""
    file = name.rpartition("/")[2]
    header_bytes = int.from_bytes(beginning[:8], "little")
    if size < 8 or header_bytes > size - 8:
        raise ModelInvalid(f"{name} is cut off or no safetensors file; fetch it again", {"file": file})
    try:
        if header_bytes > MOST_HEADER_BYTES:
            raise ValueError(f"it has {header_bytes} bytes, and {MOST_HEADER_BYTES} are read at most")
        header = parse_json(beginning[8 : 8 + header_bytes], MOST_TENSOR_VALUES)
        header.pop("__metadata__", None)
        data_bytes = _bytes_in_a_row(header)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        reason = f"{name} has a damaged header: {str(problem)[:200] or type(problem).__name__}"
        raise ModelInvalid(reason, {"file": file}) from None
    if size != 8 + header_bytes + data_bytes:
        raise ModelInvalid(
            f"{name} has {size} bytes where its header needs {8 + header_bytes + data_bytes}; fetch it again",
            {"file": file, "size_bytes": size, "needed_bytes": 8 + header_bytes + data_bytes},
        )
    return tuple(StoredTensor(each, tensor["dtype"], _tensor_bytes(tensor)) for each, tensor in header.items())


def _bytes_in_a_row(header: dict[str, Any]) -> int:
    """The bytes of all tensors, which lie one behind the other."""
    end = 0
    for begin, stop, name in sorted((*tensor["data_offsets"], name) for name, tensor in header.items()):
        if begin != end:
            raise ValueError(f"'{name[:100]}' begins at {begin}, and the tensor before it ends at {end}")
        needed = _tensor_bytes(header[name])
        if stop - begin != needed:
            raise ValueError(f"'{name[:100]}' has {stop - begin} bytes, and its type and shape need {needed}")
        end = stop
    return end


def _tensor_bytes(tensor: dict[str, Any]) -> int:
    shape = tensor["shape"]
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"impossible shape {str(shape)[:100]}")
    if (bits := _BITS.get(tensor["dtype"])) is None:
        raise ValueError(f"unknown type '{tensor['dtype'][:100]}'")
    numbers: int = math.prod(shape)
    return -(-numbers * bits // 8)
