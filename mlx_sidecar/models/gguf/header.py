"""A GGUF file's header, believed only where it describes the file.

The rules are the format's own (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): a list of keys with values
of thirteen types, a list of tensors, then the tensors' bytes. The header is read with `pread`, never mapped: a file
that somebody cuts short would end the process. Arrays stay as bytes until somebody asks, since a tokenizer's have
hundreds of thousands of strings.
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from mlx_sidecar.errors import ModelInvalid, ModelUnsupported
from mlx_sidecar.models.files import open_file
from mlx_sidecar.models.gguf.cursor import MAGIC, Cursor, Damaged
from mlx_sidecar.models.gguf.types import FILE_TYPES, TENSOR_TYPES, WITHDRAWN_TYPES, TensorType

_VERSIONS = (2, 3)
_MOST_KEYS = 10_000
"""Files have some thirty."""
_MOST_TENSORS = 20_000
"""The largest models have some thousand."""
_MOST_STRINGS = 2_000_000
"""In all arrays together: a vocabulary of 262,144 tokens with its merges has 800,000."""
_MOST_NUMBERS_BYTES = 16 * 1024 * 1024
_LONGEST_NAME = 65_535
_MOST_DIMENSIONS = 4
_MOST_VALUES = 2**40
_DEFAULT_ALIGNMENT = 32
_MOST_ALIGNMENT = 2**20

_NUMBER_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_NUMBERS = {kind: struct.Struct(f"<{code}") for kind, code in _NUMBER_CODES.items()}
_ARRAY_CODES = {**_NUMBER_CODES, 7: "b"}
_BOOL, _STRING, _ARRAY = 7, 8, 9


class StringArray:
    """Strings as they lie in the file, each behind its length."""

    def __init__(self, data: bytes, count: int, what: str) -> None:
        self._data, self._count, self._what = data, count, what

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        data, place = self._data, 0
        for _ in range(self._count):
            begin = place + 8
            place = begin + int.from_bytes(data[place:begin], "little")
            yield data[begin:place]

    def texts(self) -> list[str]:
        """Decoded. Raises ModelInvalid where one isn't UTF-8."""
        try:
            return [raw.decode() for raw in self]
        except UnicodeDecodeError:
            raise ModelInvalid(f"{self._what} holds a string that isn't UTF-8") from None


Value = int | float | bool | bytes | array | StringArray  # type: ignore[type-arg]


class TensorInfo(Struct, frozen=True):
    """What the header says of a tensor."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    """Rows first, as MLX counts; in the file it stands the other way round."""
    offset: int
    """Of its first byte, from the beginning of the file."""
    values: int

    @property
    def size_bytes(self) -> int:
        """What it takes in the file."""
        return self.type.bytes_of(self.values)


class GGUFHeader:
    """What a file says of a model. The getters give None where there is no such key, and raise ModelInvalid."""

    def __init__(
        self,
        name: str,
        version: int,
        metadata: dict[str, Value],
        tensors: tuple[TensorInfo, ...],
        data_start: int,
    ) -> None:
        self.name, self.version, self.tensors, self.data_start = name, version, tensors, data_start
        self._metadata = metadata

    @property
    def keys(self) -> tuple[str, ...]:
        """All of the metadata."""
        return tuple(self._metadata)

    @property
    def file(self) -> str:
        """The file's name, as errors give it in their data."""
        return os.path.basename(self.name)  # noqa: PTH119 - may be part of a URL

    @property
    def architecture(self) -> str:
        """What llama.cpp calls the network. Raises ModelInvalid where the file doesn't say."""
        stated = self.text("general.architecture")
        if stated is None or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", stated):
            self.refuse("names no general.architecture")
        return stated

    @property
    def file_type(self) -> str | None:
        """What people call its quantization, such as Q4_K_M."""
        return FILE_TYPES.get(self.integer("general.file_type") or 0) if "general.file_type" in self._metadata else None

    def text(self, key: str) -> str | None:
        """A string."""
        value = self._metadata.get(key)
        if value is None:
            return None
        if not isinstance(value, bytes):
            self._refuse_type(key, "a string")
        try:
            return value.decode()
        except UnicodeDecodeError:
            self.refuse(f"has a '{key[:100]}' that isn't UTF-8")

    def integer(self, key: str) -> int | None:
        """A whole number."""
        value = self._metadata.get(key)
        if value is not None and type(value) is not int:
            self._refuse_type(key, "a whole number")
        return value

    def number(self, key: str) -> float | None:
        """A number."""
        value = self._metadata.get(key)
        if value is not None and type(value) not in (int, float):
            self._refuse_type(key, "a number")
        return value  # type: ignore[return-value]

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self._metadata.get(key)
        if value is not None and type(value) is not bool:
            self._refuse_type(key, "true or false")
        return value

    def strings(self, key: str) -> StringArray | None:
        """An array of strings."""
        value = self._metadata.get(key)
        if value is not None and not isinstance(value, StringArray):
            self._refuse_type(key, "an array of strings")
        return value

    def numbers(self, key: str) -> array[int] | array[float] | None:
        """An array of numbers; true is 1."""
        value = self._metadata.get(key)
        if value is not None and not isinstance(value, array):
            self._refuse_type(key, "an array of numbers")
        return value

    def is_array(self, key: str) -> bool:
        """Whether it is an array of numbers."""
        return isinstance(self._metadata.get(key), array)

    def refuse(self, why: str) -> NoReturn:
        """Raise ModelInvalid with the file's name before these words."""
        raise ModelInvalid(f"{self.name} {why}", {"file": self.file})

    def _refuse_type(self, key: str, wanted: str) -> NoReturn:
        self.refuse(f"has a '{key[:100]}' that isn't {wanted}")


def read_header(file: Path) -> GGUFHeader:
    """Of a file on the disk. Raises ModelInvalid or ModelUnsupported, naming it."""
    try:
        with open_file(file) as stream:
            descriptor = stream.fileno()
            size = os.fstat(descriptor).st_size
            cursor = Cursor(b"", size, lambda begin, count: os.pread(descriptor, count, begin))
            return _parse(cursor, str(file), size)
    except OSError as problem:
        raise ModelInvalid(f"{file} can't be read: {problem}", {"file": file.name}) from None


def parse_header(data: bytes, name: str, size_bytes: int | None) -> GGUFHeader:
    """Of a file of which these are the first bytes; `name` is for messages.

    Raises `cursor.MoreBytesNeeded` where they aren't enough, and as `read_header` does. Without the file's size
    nobody has checked that the tensors lie in it.
    """
    return _parse(Cursor(data, size_bytes), name, size_bytes)


def _parse(cursor: Cursor, name: str, size_bytes: int | None) -> GGUFHeader:
    file = {"file": os.path.basename(name)}  # noqa: PTH119 - may be part of a URL
    try:
        version = _version(cursor, name, file)
        tensor_count, key_count = cursor.size(), cursor.size()
        _at_most(_MOST_TENSORS, tensor_count, "tensors")
        _at_most(_MOST_KEYS, key_count, "keys")
        metadata = _metadata(cursor, key_count, name)
        alignment = _alignment(metadata)
        stated = [_tensor(cursor) for _ in range(tensor_count)]
        data_start = -(-cursor.place // alignment) * alignment
        tensors = _placed(stated, data_start, alignment)
    except _UnknownType as problem:
        raise ModelUnsupported(f"{name} can't be read: {problem}", file) from None
    except Damaged as problem:
        raise ModelInvalid(f"{name} has a damaged header: {problem}; fetch it again", file) from None
    end = max((tensor.offset + tensor.size_bytes for tensor in tensors), default=data_start)
    if size_bytes is not None and end > size_bytes:
        raise ModelInvalid(
            f"{name} has {size_bytes} bytes where its header needs {end}; fetch it again",
            {**file, "size_bytes": size_bytes, "needed_bytes": end},
        )
    return GGUFHeader(name, version, metadata, tensors, data_start)


class _UnknownType(Exception):
    """A tensor is of a type that nobody here reads."""


def _version(cursor: Cursor, name: str, file: dict[str, str]) -> int:
    if cursor.take(4) != MAGIC:
        raise ModelInvalid(f"{name} is no GGUF file: it doesn't begin with 'GGUF'", file)
    raw = cursor.take(4)
    version = int.from_bytes(raw, "little")
    if version in _VERSIONS:
        return version
    if int.from_bytes(raw, "big") in (1, *_VERSIONS):
        raise ModelUnsupported(f"{name} is a big-endian GGUF file; convert the model to a little-endian one", file)
    advice = "convert the model anew with llama.cpp" if version == 1 else "fetch the file again, or a newer mlx-sidecar"
    raise ModelUnsupported(f"{name} has version {version} of GGUF, and 2 and 3 are read; {advice}", file)


def _at_most(most: int, stated: int, what: str) -> None:
    if stated > most:
        raise Damaged(f"it counts {stated} {what}, and {most} are read at most")


def _metadata(cursor: Cursor, count: int, name: str) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    left = _MOST_STRINGS
    for _ in range(count):
        key = _name(cursor, "a key")
        if key in metadata:
            raise Damaged(f"the key '{key[:100]}' stands in it twice")
        value = _value(cursor, key, f"{name}: '{key[:100]}'", left)
        left -= len(value) if isinstance(value, StringArray) else 0
        metadata[key] = value
    return metadata


def _name(cursor: Cursor, what: str) -> str:
    length = cursor.size()
    if length > _LONGEST_NAME:
        raise Damaged(f"{what} is {length} bytes long")
    try:
        return cursor.take(length).decode()
    except UnicodeDecodeError:
        raise Damaged(f"{what} isn't UTF-8") from None


def _value(cursor: Cursor, key: str, what: str, most_strings: int) -> Value:
    kind = _kind(cursor, key)
    if kind == _STRING:
        return cursor.take(cursor.size())
    if kind == _BOOL:
        return cursor.take(1) != b"\0"
    if kind != _ARRAY:
        return cursor.number(_NUMBERS[kind])
    kind, count = _kind(cursor, key), cursor.size()
    if kind == _ARRAY:
        raise Damaged(f"'{key[:100]}' is an array of arrays")
    if kind == _STRING:
        _at_most(most_strings, count, f"strings in '{key[:100]}'")
        begin = cursor.place
        cursor.skip_strings(count)
        return StringArray(bytes(cursor.data[begin : cursor.place]), count, what)
    numbers: array[int] | array[float] = array(_ARRAY_CODES[kind])
    _at_most(_MOST_NUMBERS_BYTES // numbers.itemsize, count, f"numbers in '{key[:100]}'")
    numbers.frombytes(cursor.take(count * numbers.itemsize))
    return numbers


def _kind(cursor: Cursor, key: str) -> int:
    kind = int.from_bytes(cursor.take(4), "little")
    if kind not in _ARRAY_CODES and kind not in (_STRING, _ARRAY):
        raise Damaged(f"'{key[:100]}' has a value of the unknown type {kind}")
    return kind


def _alignment(metadata: dict[str, Value]) -> int:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= _MOST_ALIGNMENT or alignment & (alignment - 1):
        raise Damaged("general.alignment is no power of two")
    return alignment


def _tensor(cursor: Cursor) -> TensorInfo:
    """As the file states it: the offset counts from the first tensor."""
    name = _name(cursor, "a tensor's name")
    dimensions = int.from_bytes(cursor.take(4), "little")
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise Damaged(f"'{name[:100]}' has {dimensions} dimensions, and there are 1 to {_MOST_DIMENSIONS}")
    shape = tuple(cursor.size() for _ in range(dimensions))[::-1]
    number = int.from_bytes(cursor.take(4), "little")
    if (found := TENSOR_TYPES.get(number)) is None:
        called = WITHDRAWN_TYPES.get(number)
        of = f"type {called}, which llama.cpp has given up" if called else f"type {number}, which isn't known"
        raise _UnknownType(f"'{name[:100]}' is of {of}")
    values = 1
    for size in shape:
        values *= size
        if not 0 < values <= _MOST_VALUES:
            raise Damaged(f"'{name[:100]}' has an impossible shape")
    if shape[-1] % found.block_values:
        raise Damaged(f"'{name[:100]}' has rows of {shape[-1]} values in blocks of {found.block_values}")
    return TensorInfo(name, found, shape, cursor.size(), values)


def _placed(stated: list[TensorInfo], data_start: int, alignment: int) -> tuple[TensorInfo, ...]:
    """With offsets from the file's beginning; no two tensors share a byte or a name."""
    if len({tensor.name for tensor in stated}) < len(stated):
        raise Damaged("two tensors have one name")
    end, last = 0, ""
    for tensor in sorted(stated, key=lambda each: each.offset):
        if tensor.offset % alignment:
            raise Damaged(f"'{tensor.name[:100]}' begins at {tensor.offset}, which is no multiple of {alignment}")
        if tensor.offset < end:
            raise Damaged(f"'{tensor.name[:100]}' begins at {tensor.offset}, and '{last[:100]}' ends at {end}")
        end, last = tensor.offset + tensor.size_bytes, tensor.name
    return tuple(TensorInfo(t.name, t.type, t.shape, data_start + t.offset, t.values) for t in stated)
