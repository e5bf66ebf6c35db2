"""GGUF files byte by byte, also such as no program writes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 5, 6, 7, 8, 9, 10
F32, Q8_0 = 0, 8


def string(text: str | bytes) -> bytes:
    """Behind its length."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(stated: Any) -> bytes:
    """With its type: a bool, an int (32 bits), a float, a string, or a list of ints, floats or strings."""
    if isinstance(stated, bool):
        return struct.pack("<IB", BOOL, stated)
    if isinstance(stated, int):
        return struct.pack("<II", UINT32, stated) if stated >= 0 else struct.pack("<Ii", INT32, stated)
    if isinstance(stated, float):
        return struct.pack("<If", FLOAT32, stated)
    if isinstance(stated, str | bytes):
        return struct.pack("<I", STRING) + string(stated)
    if stated and isinstance(stated[0], float):
        return struct.pack(f"<IIQ{len(stated)}f", ARRAY, FLOAT32, len(stated), *stated)
    kind = STRING if not stated or isinstance(stated[0], str | bytes) else UINT32
    items = [string(item) if kind == STRING else struct.pack("<I", item) for item in stated]
    return struct.pack("<IIQ", ARRAY, kind, len(stated)) + b"".join(items)


def key(name: str, stated: Any) -> bytes:
    """One of the metadata."""
    return string(name) + value(stated)


def tensor(name: str, shape: Sequence[int], offset: int = 0, kind: int = F32) -> bytes:
    """One of the list; the shape as it stands in the file, the offset from the first tensor."""
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(
    keys: Sequence[bytes] = (), tensors: Sequence[bytes] = (), data: bytes = b"", *, version: int = 3, aligned: int = 32
) -> bytes:
    """A whole file."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join([*keys, *tensors])
    return head + bytes(-len(head) % aligned) + data
