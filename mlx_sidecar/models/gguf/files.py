"""A model in one GGUF file or in a set of them (`NAME-00001-of-00003.gguf`), checked by its headers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from msgspec import Struct

from mlx_sidecar.errors import ModelInvalid, ModelNotFound
from mlx_sidecar.models.gguf.header import GGUFHeader, TensorInfo, read_header

SUFFIX = ".gguf"
_PART = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_MOST_PARTS = 1024


class SplitName(Struct, frozen=True):
    """What the name of a part says: it is the number-th of so many, from 1 on."""

    prefix: str
    number: int
    count: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of all parts."""
        return tuple(f"{self.prefix}-{n:05}-of-{self.count:05}{SUFFIX}" for n in range(1, self.count + 1))


class GGUFModel(Struct, frozen=True):
    """Files that hold a whole model, as far as their headers tell."""

    path: Path
    """The file, or the first of the set."""
    parts: tuple[GGUFHeader, ...]
    places: dict[str, tuple[Path, TensorInfo]]
    """Where each tensor lies, by name."""

    @property
    def header(self) -> GGUFHeader:
        """Whose metadata is the model's."""
        return self.parts[0]

    @property
    def weight_bytes(self) -> int:
        """What the tensors take in the files."""
        return sum(tensor.size_bytes for _, tensor in self.places.values())

    @property
    def quantization(self) -> str | None:
        """The file's own name for it, such as Q4_K_M; where it has none, the type of most matrices, as in llama.cpp."""
        if self.header.file_type is not None:
            return self.header.file_type
        types = Counter(tensor.type.name for _, tensor in self.places.values() if len(tensor.shape) > 1)
        return types.most_common(1)[0][0] if types else None


def split_of(name: str) -> SplitName | None:
    """What a file's name says of the set that it belongs to; None where it says nothing."""
    found = _PART.fullmatch(name)
    if found is None or not 1 <= int(found["number"]) <= int(found["count"]) <= _MOST_PARTS:
        return None
    return SplitName(found["prefix"], int(found["number"]), int(found["count"]))


def check(path: Path) -> GGUFModel:
    """Read all headers. Raises ModelNotFound, ModelInvalid or ModelUnsupported, naming the file."""
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise ModelNotFound(f"the model file '{path}' {what}; give the path of a {SUFFIX} file")
    files = _files(path)
    parts = tuple(read_header(file) for file in files)
    if len(parts) > 1 or parts[0].integer("split.count"):
        _check_parts(parts)
    places: dict[str, tuple[Path, TensorInfo]] = {}
    for file, part in zip(files, parts, strict=True):
        for tensor in part.tensors:
            if tensor.name in places:
                part.refuse(f"holds '{tensor.name[:100]}', which stands in {places[tensor.name][0].name} already")
            places[tensor.name] = file, tensor
    if not places:
        parts[0].refuse("holds no tensors")
    return GGUFModel(path, parts, places)


def _files(path: Path) -> list[Path]:
    """The parts of the set whose first part that is, or the file alone."""
    split = split_of(path.name)
    if split is None:
        return [path]
    if split.number != 1:
        message = f"{path} is one part of a model; give the first, {split.names[0]}"
        raise ModelInvalid(message, {"file": path.name, "first": split.names[0]})
    files = [path.with_name(name) for name in split.names]
    for file in files:
        if not file.is_file():
            raise ModelInvalid(f"{file} is missing, one of {split.count} parts; fetch it", {"file": file.name})
    return files


def _check_parts(parts: tuple[GGUFHeader, ...]) -> None:
    """What each part says of the set is what is there."""
    for number, part in enumerate(parts):
        stated = part.integer("split.count"), part.integer("split.no")
        if stated != (len(parts), number):
            part.refuse(
                f"calls itself part {stated[1]} of {stated[0]}, counted from 0, and lies as part {number} of "
                f"{len(parts)}; give its set the names that llama.cpp gave it, or fetch it again"
            )
    tensors = sum(len(part.tensors) for part in parts)
    wanted = parts[0].integer("split.tensors.count")
    if wanted is not None and wanted != tensors:
        parts[0].refuse(f"counts {wanted} tensors in all parts, and they hold {tensors}; fetch them again")
